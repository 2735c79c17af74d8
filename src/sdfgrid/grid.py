"""Multi-resolution trilinear feature grids, stored in bricks so that fine levels exist only where they are needed."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor, nn

from sdfgrid.kernels import Kernels

CHANNELS = 4
BRICK = 4  # vertices per axis
ROWS_PER_BRICK = BRICK**3


class FeatureGrid(nn.Module):
    """Grids over the cube [-1, 1]^3; level l has cells[l] cells per axis and CHANNELS features at each vertex.

    The vertices of a level are grouped into bricks of 4^3. `bricks` maps each brick position, all levels after one
    another, to its place in `table`, or -1 where the level does not exist: its features are 0 there. Each brick
    fills ROWS_PER_BRICK rows of `table` (rows, CHANNELS).
    """

    table: Tensor
    bricks: Tensor
    touched: Tensor

    def __init__(
        self,
        cells: Sequence[int],
        dense_up_to: int,
        initial_feature: float,
        generator: torch.Generator,
        kernels: Kernels | None = None,
    ) -> None:
        """Levels of at most dense_up_to cells exist everywhere; features begin at random within initial_feature."""
        super().__init__()
        self.kernels = kernels
        # Of Triton's kernels: the gradient, and where levels begin.
        self.sums: Tensor | None = None
        self.layout: Tensor | None = None
        self.cells = list(cells)
        per_axis = [cells // BRICK + 1 for cells in self.cells]
        self.first_brick = [sum(n**3 for n in per_axis[:level]) for level in range(len(per_axis))]
        bricks = torch.full((sum(n**3 for n in per_axis),), -1, dtype=torch.int32)
        dense = sum(n**3 for n, c in zip(per_axis, self.cells) if c <= dense_up_to)
        bricks[:dense] = torch.arange(dense, dtype=torch.int32)  # cells increase, so the dense levels come first
        self.register_buffer("bricks", bricks)
        start = (
            torch.rand(dense * ROWS_PER_BRICK, CHANNELS, generator=generator) * (2 * initial_feature) - initial_feature
        )
        self.table = nn.Parameter(start)
        self.register_buffer("touched", torch.zeros(len(start), dtype=torch.uint8), persistent=False)

    def forward(self, points: Tensor, levels: int) -> Tensor:
        """Features (N, CHANNELS * levels) of points (N, 3) in the first `levels` levels. Points get no gradient."""
        points = points.detach().contiguous()
        if self.kernels is not None:
            return self.kernels.look_up(self, points, levels)
        return torch.cat([self._level_features(points, level) for level in range(levels)], -1)

    def _level_features(self, points: Tensor, level: int) -> Tensor:
        cells, per_axis = self.cells[level], self.cells[level] // BRICK + 1
        u = ((points + 1) * 0.5 * cells).nan_to_num(0.0).clamp(0, cells - 1e-3)
        corner = u.floor()
        fraction = u - corner
        axes = []
        for axis in range(3):  # both vertices of the cell along each axis
            index = corner[:, axis, None].long() + torch.arange(2, device=points.device)
            weight = torch.stack([1 - fraction[:, axis], fraction[:, axis]], -1)
            axes.append((index // BRICK, index % BRICK, weight))
        (bx, ox, wx), (by, oy, wy), (bz, oz, wz) = axes
        position = (bx[:, :, None, None] * per_axis + by[:, None, :, None]) * per_axis + bz[:, None, None, :]
        inner = (ox[:, :, None, None] * BRICK + oy[:, None, :, None]) * BRICK + oz[:, None, None, :]
        weights = wx[:, :, None, None] * wy[:, None, :, None] * wz[:, None, None, :]
        brick = self.bricks[self.first_brick[level] + position].long()
        rows = brick.clamp(min=0) * ROWS_PER_BRICK + inner
        weights = weights * (brick >= 0)
        return nn.functional.embedding_bag(
            rows.view(-1, 8), self.table, per_sample_weights=weights.view(-1, 8), mode="sum"
        )

    def vertices(self, level: int) -> tuple[Tensor, Tensor]:
        """Rows of `table` that belong to a level and the positions (n, 3) of their vertices in [-1, 1]^3."""
        cells, per_axis = self.cells[level], self.cells[level] // BRICK + 1
        first = self.first_brick[level]
        brick = self.bricks[first : first + per_axis**3].long()
        position = torch.nonzero(brick >= 0)[:, 0]
        inner = torch.arange(ROWS_PER_BRICK, device=brick.device)
        index = [
            (position // per_axis**2)[:, None] * BRICK + inner // BRICK**2,
            (position // per_axis % per_axis)[:, None] * BRICK + inner // BRICK % BRICK,
            (position % per_axis)[:, None] * BRICK + inner % BRICK,
        ]
        rows = brick[position][:, None] * ROWS_PER_BRICK + inner
        points = torch.stack(index, -1).reshape(-1, 3).to(torch.float32) * (2.0 / cells) - 1
        return rows.reshape(-1), points

    def brick_centres(self, level: int) -> Tensor:
        """Centres (n, 3) of all brick positions of a level, existing or not."""
        cells, per_axis = self.cells[level], self.cells[level] // BRICK + 1
        axis = (torch.arange(per_axis, device=self.bricks.device) * BRICK + (BRICK - 1) / 2) * (2.0 / cells) - 1
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)

    def allocate(self, level: int, wanted: Tensor) -> int:
        """Create the bricks of a level where `wanted` (bool, as brick_centres) holds, with features 0.

        Returns the number of new rows; the owner of optimiser state must grow it by as many.
        """
        position = torch.nonzero(wanted)[:, 0]
        old = self.table.shape[0] // ROWS_PER_BRICK
        self.bricks[self.first_brick[level] + position] = torch.arange(
            old, old + len(position), dtype=torch.int32, device=self.bricks.device
        )
        rows = len(position) * ROWS_PER_BRICK
        self.table = nn.Parameter(torch.cat([self.table.detach(), self.table.new_zeros(rows, CHANNELS)]))
        self.touched = torch.zeros(len(self.table), dtype=torch.uint8, device=self.bricks.device)
        return rows

    def restore(self, bricks: Tensor, table: Tensor) -> None:
        """Take over the bricks and features of a saved grid with the same cells."""
        self.bricks.copy_(bricks)
        self.table = nn.Parameter(table.to(self.bricks.device))
        self.touched = torch.zeros(len(table), dtype=torch.uint8, device=self.bricks.device)

    def gradient(self) -> Tensor:
        """The table's gradient, kept from iteration to iteration because clearing all of it would take longer than
        an iteration's work: whoever uses it clears what was touched."""
        if self.table.grad is None:
            self.table.grad = torch.zeros_like(self.table)
        return self.table.grad
