"""What a user can set, as `--ovhai-...` or in a profile."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    datastore: Optional[str] = field(
        default=None,
        metadata={
            "help": "alias of the S3 data store of the bucket, as `ovhai datastore list` shows it",
            "required": True,
        },
    )
    image: Optional[str] = field(
        default=None,
        metadata={"help": "image of the rules that have no `container:`"},
    )
    sources: Optional[str] = field(
        default=None,
        metadata={
            "help": "folders below the working folder whose programs the rules call, separated by commas: "
            "uploaded once, mounted read-only at the same place",
        },
    )
    default_runtime: int = field(
        default=240,
        metadata={"help": "minutes after which a job of a rule without the resource `runtime` is ended", "type": int},
    )
    queued_limit: float = field(
        default=60.0,
        metadata={"help": "minutes that a job may be QUEUED before it is given up", "type": float},
    )
    pending_limit: float = field(
        default=30.0,
        metadata={"help": "minutes that a job may be PENDING (image download) before it is given up", "type": float},
    )
    stop_limit: float = field(
        default=3.0,
        metadata={"help": "minutes that Ctrl-C waits until the platform confirms that all jobs stopped", "type": float},
    )
    min_interval: float = field(
        default=5.0,
        metadata={"help": "seconds between two looks at the jobs while something changes", "type": float},
    )
    max_interval: float = field(
        default=60.0,
        metadata={"help": "seconds between two looks at the jobs while nothing changes", "type": float},
    )
    signatures: Optional[Path] = field(
        default=None,
        metadata={"help": "YAML file of further known errors in logs; see the plugin's documentation", "type": Path},
    )
    detach: bool = field(
        default=False,
        metadata={"help": "Ctrl-C leaves the jobs running; the next run goes on with them"},
    )
