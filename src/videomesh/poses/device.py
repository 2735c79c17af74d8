"""Where COLMAP looks for features and matches them: a GPU does both many times faster than CPUs."""

import sys
from typing import Callable

from videomesh.errors import UserError


class Device:
    """auto is the GPU for as long as that works, then the CPU. Mapping runs on the CPU in any case."""

    def __init__(self, wish: str, lack: str) -> None:
        """wish: auto, cpu or gpu. lack: why COLMAP cannot use a GPU here; "" if it can.

        Raises UserError if the wish cannot be met.
        """
        if wish == "gpu" and lack:
            raise UserError(f"poses.device is gpu, and COLMAP can use none here: {lack}; or set poses.device to auto")
        self.gpu = wish != "cpu" and not lack
        self._only = wish == "gpu"
        reason = "" if self.gpu else f" ({lack if wish == 'auto' else 'poses.device is cpu'})"
        print(f"features and matches on the {self.name}{reason}", flush=True)

    @property
    def name(self) -> str:
        return "GPU" if self.gpu else "CPU"

    def run(self, step: Callable[[], None], find_fault: Callable[[], str]) -> None:
        """A step, which looks at self.gpu; if it fails on a GPU, again without.

        find_fault: what the step left undone although it raised nothing, as a COLMAP whose GPU fails does; "" if
        nothing. It is asked only after a GPU.
        """
        if not self.gpu:
            return step()
        try:
            step()
            fault = find_fault()
        except UserError as error:
            fault = str(error)
        if not fault:
            return None
        if self._only:
            raise UserError(f"COLMAP fails on this machine's GPU: {fault}; set poses.device to auto or cpu")
        print(f"COLMAP cannot use this machine's GPU and goes on without it ({fault})", file=sys.stderr, flush=True)
        self.gpu = False
        return step()
