"""Settings for the tests of the executor."""

from hypothesis import settings

# No time limit for an example: the machine may be busy with other tests.
settings.register_profile("executor", deadline=None, max_examples=60)
settings.load_profile("executor")
