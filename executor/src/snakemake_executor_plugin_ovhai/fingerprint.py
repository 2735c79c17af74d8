"""Two checksums that identify the work a job does, whoever started it.

target       where the outputs go: two live jobs with the same target would overwrite each other's files
fingerprint  everything the outputs depend on: jobs with the same fingerprint make the same outputs
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

from .volumes import StoredFile

LENGTH = 40  # hexadecimal digits; labels may be limited to 63 characters


def get_target(outputs: Iterable[StoredFile]) -> str:
    return get_checksum(sorted(file.uri for file in outputs))


def get_fingerprint(
    command: str, image: str, params: object, outputs: Iterable[StoredFile], inputs: Mapping[StoredFile, str]
) -> str:
    """inputs: each input and the checksum of its content.

    The params count, because that is where a rule tells Snakemake what else makes its outputs stale, such as the
    checksum of a script. The attempt does not count: a restarted head does not know it.
    """
    content = {
        "command": command,
        "image": image,
        "params": repr(params),
        "outputs": sorted(file.uri for file in outputs),
        "inputs": sorted((file.uri, checksum) for file, checksum in inputs.items()),
    }
    return get_checksum(content)


def get_checksum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:LENGTH]
