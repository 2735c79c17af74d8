"""Keys and tokens in environment variables. They are used on this machine only, and never shown."""

import os
from collections.abc import Iterable
from pathlib import Path

# Each key's name for Snakemake's S3 storage plugin, and the name for AWS clients that the plugin falls back to.
KEYS = {
    "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
}
SECRETS = (
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY",
    "SNAKEMAKE_STORAGE_S3_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OVH_AI_TOKEN",
)
SHORTEST = 8  # characters; a shorter value would be found in innocent texts


def find_missing_keys() -> list[str]:
    """Names of keys that are in no variable, if AWS clients have no file of keys either."""
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if file.exists():
        return []
    return [name for name, fallback in KEYS.items() if not os.environ.get(name) and not os.environ.get(fallback)]


def get_secrets(names: Iterable[str] = SECRETS) -> list[str]:
    """Values of the variables that are set."""
    return [value for name in names if len(value := os.environ.get(name, "")) >= SHORTEST]


def hide_secrets(text: str) -> str:
    """Programs and servers may repeat in their messages what they were given."""
    for value in get_secrets((*KEYS, *KEYS.values(), *SECRETS)):
        text = text.replace(value, "***")
    return text
