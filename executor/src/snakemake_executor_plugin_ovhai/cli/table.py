"""Columns of text that stand below each other."""

from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """The first row has the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
