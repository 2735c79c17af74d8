"""videomesh-status: how far each scene is, asked from a second terminal.

It only reads: it takes no lock, starts nothing, and may be asked while a run goes on. What else is given, such as
--profile or --configfile, is for Snakemake and the same as in the run.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from snakemake import cli
from snakemake.workflow import Workflow

from videomesh.errors import UserError, run, suggest
from videomesh.progress.show import show
from videomesh.progress.state import STATES, Status, read_status
from videomesh.progress.stores import open_store


def main() -> None:
    run(tell)


def tell() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--scenes", nargs="+", metavar="SCENE", help="names of scenes; all without this option")
    parser.add_argument("--states", nargs="+", metavar="STATE", choices=STATES, help=f"only {', '.join(STATES)}")
    args, for_snakemake = parser.parse_known_args()

    def tell_status(workflow: Workflow) -> None:
        try:
            status = find_status(workflow)
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # whatever a log says
            show(Console(), select(status, args.scenes, args.states))
        except UserError as error:
            sys.exit(f"error: {error}")
        finally:
            for log in workflow.logger_manager.get_logfile():  # of a run, which this is none
                Path(log).unlink(missing_ok=True)

    # Snakemake has no hook for a workflow that is only read. This is what --dag does with it before it makes a plan.
    Workflow.printdag = tell_status
    cli.main([*for_snakemake, "--quiet", "--dag"])


def find_status(workflow: Workflow) -> Status:
    scenes = workflow.globals.get("SCENES")
    if scenes is None:
        raise UserError(
            "the Snakefile has no scenes of its own; name this workflow's with -s, and the --configfile of its runs"
        )
    return read_status(Path(), scenes, open_store(Path(), scenes, workflow))


def select(status: Status, names: list[str] | None, states: list[str] | None) -> Status:
    """Only some scenes. Raises UserError for a name that none has."""
    known = [state.scene for state in status.scenes]
    for name in names or []:
        if name not in known:
            raise UserError(f"there is no scene {name}.{suggest(name, known)} The scenes are {', '.join(known[:20])}")
    chosen = [
        state for state in status.scenes if (not names or state.scene in names) and (not states or state.name in states)
    ]
    return replace(status, scenes=chosen)


if __name__ == "__main__":
    main()
