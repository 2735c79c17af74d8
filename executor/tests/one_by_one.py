"""`snakemake` that asks the bucket about each object in turn, as it does alone. Tests name it as the module to run."""

from snakemake_executor_plugin_ovhai import inventory


def main() -> None:
    from snakemake.cli import main

    inventory.attach = lambda: None
    main()
