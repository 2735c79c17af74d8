"""`snakemake` that waits for seconds where the executor waits for minutes. Tests name it as the module to run."""

from snakemake_executor_plugin_ovhai import diagnosis

PULL_WAIT = 3.0  # seconds


def main() -> None:
    from snakemake.cli import main

    diagnosis.PULL_WAIT = PULL_WAIT
    main()
