"""The settings of all scenes and their results, as the workflow has them: on this machine, or in a bucket."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake import __version__, cli
from snakemake.workflow import Workflow

from videomesh.errors import UserError, suggest
from videomesh.report.results import Results, find_files, name_files

NEEDED = ("SCENES", "has_storage", "fetch_stored", "FETCHED")  # of rules/common.smk


@dataclass(frozen=True)
class Project:
    scenes: dict[str, dict[str, Any]]  # the settings of each, with the crop that is used
    fetch: Callable[[str, Sequence[str]], list[Path]] | None = None  # brings results from a bucket; None: they are here
    copies: list[Path] = field(default_factory=list)  # that fetch has made

    def get_settings(self, scene: str) -> dict[str, Any]:
        """Raises UserError if there is no such scene."""
        if scene not in self.scenes:
            names = ", ".join(self.scenes)
            if not scene:
                raise UserError(f"no scene is named: make adjust SCENE=NAME. The scenes are {names}.")
            raise UserError(f"there is no scene {scene}.{suggest(scene, self.scenes)} The scenes are {names}.")
        return self.scenes[scene]

    def find_results(self, scene: str, names: Sequence[str]) -> Results:
        """Those of the named files that there are."""
        settings = self.get_settings(scene)
        if self.fetch:
            return Results(scene, settings, name_files(scene, self.fetch(scene, names)))
        results = Results(scene, settings, find_files(Path(), scene)).without_outdated()
        return Results(scene, settings, {name: path for name, path in results.files.items() if name in names})

    def remove_copies(self) -> None:
        """As soon as they are read: Snakemake's next plan, also of a run beside this, would go by their dates."""
        while self.copies:
            self.copies.pop().unlink(missing_ok=True)


def open_project(arguments: Sequence[str], use: Callable[[Project], None]) -> None:
    """Have Snakemake read the workflow with its own arguments, and call use while its storage is open."""
    if not hasattr(Workflow, "printdag"):
        raise UserError(f"Snakemake {__version__} is not known to this program; install the version of pyproject.toml")

    def use_workflow(workflow: Any) -> None:
        # A user's own snakefile may use the workflow as a module: these names are not its own then.
        if missing := [name for name in NEEDED if name not in workflow.globals]:
            sys.exit(f"error: the snakefile is not the one of this workflow (it lacks {', '.join(missing)})")
        scenes, has_storage, fetch, copies = (workflow.globals[name] for name in NEEDED)
        project = Project(scenes, fetch if has_storage() else None, copies)
        try:
            use(project)
        except UserError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            print()
        finally:
            project.remove_copies()

    # Snakemake has no hook for a workflow that is read and not carried out. This is what --dag does with it.
    Workflow.printdag = use_workflow
    cli.main([*arguments, "--quiet", "--dag"])
