"""The error with which the plugin ends a run."""

from types import TracebackType

from snakemake_interface_common.exceptions import WorkflowError as InterfaceError


class WorkflowError(InterfaceError):
    """Its text says what is wrong and what to do.

    Snakemake prints a line `File ".../__init__.py"` for each of the plugin's functions that such an error has passed.
    They tell a user nothing, so this error shows none. `--verbose` still prints Snakemake's own lines.
    """

    @property  # type: ignore[override]
    def __traceback__(self) -> None:
        return None

    @__traceback__.setter
    def __traceback__(self, traceback: TracebackType | None) -> None:
        """contextlib sets it."""
