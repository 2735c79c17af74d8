"""What the jobs of a scene cost elsewhere: the bill, a CSV file with a row for each job that ran on a rented machine.

Whoever starts the jobs writes it. These columns are read: job, rules and wildcards (words apart by blanks; wildcards as
name=value), flavor (the machine), units, state, started, ended (RFC 3339), billed_seconds, useful_seconds, cost,
currency and lost (1 if the machine was). A number that is missing is not known, and never counts as 0.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

BILL = Path("deliver/bill.csv")


class Charge(NamedTuple):
    """A job. Times are in seconds, `ended` since 1970 (0 while it runs). None: not known."""

    scene: str
    milestone: str  # empty for a stage without one
    rules: tuple[str, ...]
    machine: str
    ended: float
    billed: float | None
    useful: float | None
    cost: float | None
    currency: str
    lost: bool  # whether the machine was


class Total(NamedTuple):
    cost: float | None  # None if no cost is known
    currency: str  # of the last job; costs in another one are not in the sum
    complete: bool  # whether the cost of every job is in the sum
    share: float | None  # billed over useful time


def read_bill(root: Path) -> dict[str, list[Charge]]:
    """The jobs of each scene in the order of their start. Empty if there is no bill, or one that cannot be read."""
    charges: dict[str, list[Charge]] = {}
    try:
        with open(root / BILL, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("job")]
    except (OSError, ValueError, csv.Error):
        return {}
    for row in sorted(rows, key=lambda row: row.get("started") or "~"):
        charge = read_charge(row)
        if charge.scene:
            charges.setdefault(charge.scene, []).append(charge)
    return charges


def read_charge(row: dict[str, Any]) -> Charge:
    wildcards = dict(part.split("=", 1) for part in (row.get("wildcards") or "").split() if "=" in part)
    units = row.get("units") or ""
    return Charge(
        scene=wildcards.get("scene", ""),
        milestone=wildcards.get("iteration", ""),
        rules=tuple((row.get("rules") or "").split()),
        machine=f"{units} x {row['flavor']}" if units and row.get("flavor") else row.get("flavor") or "",
        ended=read_time(row.get("ended")),
        billed=read_number(row.get("billed_seconds")),
        useful=read_number(row.get("useful_seconds")),
        cost=read_number(row.get("cost")),
        currency=row.get("currency") or "",
        lost=bool(read_number(row.get("lost"))),
    )


def read_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_time(text: str | None) -> float:
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return 0.0


def add_up(charges: Iterable[Charge]) -> Total:
    charges = list(charges)
    currency = next((charge.currency for charge in reversed(charges) if charge.currency), "")
    costs = [charge.cost for charge in charges if charge.cost is not None and charge.currency in ("", currency)]
    useful = sum(charge.useful or 0 for charge in charges)
    return Total(
        cost=round(sum(costs), 4) if costs else None,
        currency=currency,
        complete=len(costs) == len(charges),
        share=round(sum(charge.billed or 0 for charge in charges) / useful, 2) if useful else None,
    )


def group(charges: Sequence[Charge]) -> list[list[Charge]]:
    """The jobs that did the same step, such as all attempts of a training up to one milestone."""
    groups: dict[tuple[tuple[str, ...], str], list[Charge]] = {}
    for charge in charges:
        groups.setdefault((charge.rules, charge.milestone), []).append(charge)
    return list(groups.values())


def show_cost(total: Total) -> str:
    if total.cost is None:
        return "unknown"
    return f"{'' if total.complete else 'at least '}{total.cost:,.2f} {total.currency}".rstrip()


def summarize(charges: Sequence[Charge]) -> dict[str, Any]:
    """What the page over all scenes says of one. Empty if it has no bill."""
    if not charges:
        return {}
    total = add_up(charges)
    return {
        "cost": total.cost,
        "currency": total.currency or None,
        "cost_complete": total.complete,
        "billed_share": total.share,
        "cost_text": show_cost(total),
    }
