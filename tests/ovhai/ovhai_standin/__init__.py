"""A stand-in of OVHcloud's AI Training platform and of its command `ovhai`, for tests on one machine without network.

The platform's whole state lies in one folder, the platform folder, named by the environment variable OVHAI_STANDIN.
Tests use the class ovhai_standin.platform.Platform; ../README.md says how to use the stand-in by hand.

    cli.py        the command: from its arguments to its exit code, with the faults of calls
    server.py     calls in copies of one process, for tests with thousands of them
    arguments.py  kinds of arguments
    answers.py    forms of output
    jobs.py       `ovhai job`
    account.py    `ovhai me`, `ovhai login`, `ovhai capabilities`
    buckets.py    `ovhai datastore`, `ovhai bucket`
    folder.py     the files of a platform folder, their lock, the log of calls
    settings.py   every setting with its default
    records.py    a job's record: its shape, its changes of state, the quota
    flavors.py    kinds of machines
    volumes.py    the grammar of --volume
    runner.py     the process that takes one job through its states
    command.py    a job's command, its environment and its log
    sandbox.py    mount and process namespaces in which a job's command runs
    sync.py       copies between buckets and volumes
    faults.py     rules that make the platform misbehave
    platform.py   the face for tests

"Platform" is always the stand-in, "command" what a job runs, "call" one use of the `ovhai` command.
"""
