"""What a user can set, as `--ovhai-...` or in a profile."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from . import dry_run, first_words, inventory, patience, scheduling, snakemake_records, updates


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    datastore: Optional[str] = field(
        default=None,
        metadata={
            "help": "alias of the bucket's S3 data store, as `ovhai datastore list` shows it",
            "required": True,
        },
    )
    image: Optional[str] = field(
        default=None,
        metadata={"help": "container image of the rules that have no `container:`"},
    )
    sources: Optional[str] = field(
        default=None,
        metadata={
            "help": "folders of programs that the rules call, separated by commas. Each is below the working folder "
            "or beside the Snakefile. It is uploaded once, and a job sees it read-only under the same path.",
        },
    )
    default_runtime: int = field(
        default=240,
        metadata={"help": "time limit in minutes for jobs of rules without the resource `runtime`", "type": int},
    )
    timeout_factor: float = field(
        default=4.0,
        metadata={
            "help": "time limit over expected time, for jobs of rules with the resource `expected_seconds` and without "
            "`runtime`; a second attempt gets twice as long",
            "type": float,
        },
    )
    queued_limit: float = field(
        default=60.0,
        metadata={"help": "minutes that a job may be QUEUED before the executor stops it", "type": float},
    )
    pending_limit: float = field(
        default=30.0,
        metadata={
            "help": "minutes that a job may be PENDING (its image is downloaded) before the executor stops it",
            "type": float,
        },
    )
    initializing_limit: float = field(
        default=120.0,
        metadata={
            "help": "minutes that a job may be INITIALIZING (its inputs are copied) before the executor stops it",
            "type": float,
        },
    )
    stop_limit: float = field(
        default=3.0,
        metadata={"help": "minutes that Ctrl-C waits until the platform confirms that all jobs stopped", "type": float},
    )
    min_interval: float = field(
        default=5.0,
        metadata={"help": "seconds between two checks of the jobs while something changes", "type": float},
    )
    max_interval: float = field(
        default=60.0,
        metadata={"help": "seconds between two checks of the jobs while nothing changes", "type": float},
    )
    signatures: Optional[Path] = field(
        default=None,
        metadata={
            "help": "YAML file of your programs' known errors, below the working folder or beside the Snakefile; "
            "see the plugin's documentation",
            "type": Path,
        },
    )
    prices: Optional[Path] = field(
        default=None,
        metadata={
            "help": "YAML file of prices per flavor, below the working folder or beside the Snakefile; they take the "
            "place of those that `snakemake-ovhai prices` shows",
            "type": Path,
        },
    )
    bill: Optional[Path] = field(
        default=None,
        metadata={"help": "CSV file below the working folder that says what each job has cost", "type": Path},
    )
    max_cost: Optional[float] = field(
        default=None,
        metadata={
            "help": "most that the jobs of this run may cost, without VAT; a job that lives counts as if it ran until "
            "its time limit, and one that could pass the amount is not submitted",
            "type": float,
        },
    )
    max_price_per_hour: Optional[float] = field(
        default=None,
        metadata={"help": "most that the jobs that live at a time may cost an hour, without VAT", "type": float},
    )
    detach: bool = field(
        default=False,
        metadata={"help": "Ctrl-C leaves the jobs running, and the next run takes them over"},
    )

    def __post_init__(self) -> None:
        """Snakemake makes the settings before it plans, for a dry run too. What is attached here acts on all of it."""
        first_words.attach(self.datastore or "")
        patience.attach()
        updates.attach()
        snakemake_records.attach()
        inventory.attach()
        scheduling.attach()
        dry_run.attach(self)
