"""The command snakemake-ovhai: what a user needs beside a running workflow, without knowing the platform's job ids.

    main.py       the command line; what is an error, and how it is shown
    doctor.py     `doctor`, made of doctor_bucket.py, doctor_platform.py and doctor_left.py; finding.py is a line of it
    jobs.py, logs.py, stop.py, push.py
    reap.py       `reap`: live jobs whose run is gone, by the signs that runs give in the bucket
    prices.py, quote.py, bill.py   what flavors, a run that is planned, and jobs cost; table.py prints columns
    selection.py  which jobs the user means; waiting.py waits for the platform

A module of a subcommand has HELP, add_arguments() and run(). run() returns the exit code. Results go to standard
output, as text or as JSON (--json). Everything else goes to standard error.
"""
