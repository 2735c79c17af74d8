"""A quick mesh of a save, compared with that of an earlier save, while upstream goes on training.

It is made in a process of its own: where the GPU's memory is full, that process ends and not the training. Upstream's
networks need a GPU, so there is no other place for it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from neuralangelo_engine.processes import end_group
from neuralangelo_engine.rescue import Save, link
from neuralangelo_engine.scratch import Scratch, get_environment

WORKING_GB = 1.0  # of GPU memory beside the parameters, at CHUNK points a call
CHUNK = 1 << 17


class Found(NamedTuple):
    """What a look found. change: None at the first, which has nothing to compare."""

    iteration: int
    before: int  # the iteration of the look before
    change: Optional[Dict[str, float]]


class Looker:
    """One look at a time. A look that fails is told and left out."""

    def __init__(self, scratch: Scratch, transforms: Path) -> None:
        self.scratch, self.transforms = scratch, transforms.absolute()
        self.process: Optional[subprocess.Popen[str]] = None
        self.iteration = self.last = 0  # of the present look, and of the last one that went well

    def begin(self, save: Save) -> None:
        """Look at a save. It may go away meanwhile, so it gets a second name."""
        folder = self.scratch.folder
        link(save.path, folder / "look.pt")
        self.iteration = save.iteration
        with open(str(folder / "look.log"), "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neuralangelo_engine.look", str(folder), str(self.transforms)],
                env=get_environment(self.scratch),
                stdout=log,
                stderr=subprocess.STDOUT,
                universal_newlines=True,
                start_new_session=True,
            )

    def poll(self) -> Optional[Found]:
        """What the present look found, once."""
        if self.process is None or self.process.poll() is None:
            return None
        code, self.process = self.process.returncode, None
        (self.scratch.folder / "look.pt").unlink()
        said = (self.scratch.folder / "look.log").read_text(errors="replace").strip()
        last = (said.splitlines() or ["it printed nothing"])[-1]
        if code:
            print(f"warning: the surface at iteration {self.iteration} was not looked at: {last}", flush=True)
            return None
        before, self.last = self.last, self.iteration
        return Found(self.iteration, before, json.loads(last))

    def end(self) -> None:
        if self.process is not None:
            end_group(self.process)
            self.process = None


def main(arguments: List[str]) -> None:
    """Print, as JSON, how far the surface of FOLDER/look.pt is from that of the last look; null if there is none."""
    import torch

    from neuralangelo_engine import field
    from videomesh.devices import choose_device
    from videomesh.meshing import change
    from videomesh.scene import read_scene

    folder, transforms = map(Path, arguments)
    checkpoint, snapshot = folder / "look.pt", folder / "snapshot.pt"
    device = choose_device("auto")
    check_memory(field.read_checkpoint(checkpoint)["model"], device)
    field.CHUNK = CHUNK
    scratch = Scratch(folder, folder / "programs", folder / "config.yaml")
    trained = field.load(scratch, scratch.config, checkpoint, read_scene(transforms))
    now = change.take(trained, device)
    found = None
    if snapshot.exists():
        before = torch.load(str(snapshot), map_location=device)
        found = change.compare(change.Snapshot(**before), now)._asdict()
    torch.save(now._asdict(), str(snapshot))
    print(json.dumps(found))


def check_memory(parameters: Dict[str, Any], device: Any) -> None:
    """Leave the memory to upstream, if there is not enough for both."""
    import torch

    from videomesh.errors import UserError

    if device.type != "cuda":
        return
    needed = sum(value.numel() * value.element_size() for value in parameters.values()) / 1e9 + WORKING_GB
    free = torch.cuda.mem_get_info()[0] / 1e9
    if free < needed:
        raise UserError(f"the GPU has {free:.1f} GB free, and a quick mesh needs {needed:.1f} GB beside the training")


if __name__ == "__main__":
    from videomesh.errors import run

    run(lambda: main(sys.argv[1:]))
