"""Settings for all tests."""

import signal

# A test run in the background of a shell inherits an ignored SIGINT, and so would every program that it starts: the
# tests that press Ctrl-C could not.
signal.signal(signal.SIGINT, signal.default_int_handler)
