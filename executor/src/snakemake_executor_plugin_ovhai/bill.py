"""What the jobs of a workflow have cost, from the platform's own times, as a CSV file with a row for each job.

OVHcloud bills started minutes from the start of the image pull to the end of FINALIZING. The platform does not tell
when the pull starts: it is a part of PENDING, in which a job may also wait for a machine. So all of PENDING is counted,
and the bill may say a little too much, but not too little.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from .client import Client, OvhaiError
from .diagnosis import is_lost
from .flavors import Flavor, count_units
from .job import WAITING, Job
from .labels import get_label, get_wildcards, name_rules
from .notices import Notices
from .prices import Prices, write_text

PAUSE = 60.0  # seconds between two writes while no job changes its state


class BillError(ValueError):
    """The file is no bill. The text says what to do."""


@dataclass(frozen=True)
class Charge:
    """One job. Numbers are None if they are not known. Its fields are the columns of the file, in this order.

    run                the head that submitted it
    rules, wildcards   of the Snakemake job or group: "frames poses", "iteration=500 scene=lego"
    started, ended     of what is billed, by the platform's clock; ended is empty while the job lives
    useful_seconds     that its command ran, if the job succeeded; 0 if it did not
    expected_seconds   that the workflow expected its command to run
    price_per_hour     of all units together, without VAT
    lost               1 if the platform lost the machine or took it away, else empty
    """

    run: str
    job: str
    workflow: str
    rules: str
    wildcards: str
    flavor: str
    units: int | None
    attempt: str
    state: str
    started: str
    ended: str
    billed_seconds: int | None
    useful_seconds: int | None
    expected_seconds: int | None
    price_per_hour: float | None
    cost: float | None
    currency: str
    lost: int | None = None

    @property
    def final(self) -> bool:
        """Whether nothing about it can change any more."""
        return bool(self.ended) and self.cost is not None


COLUMNS = [field.name for field in fields(Charge)]
INTEGERS = ("units", "billed_seconds", "useful_seconds", "expected_seconds", "lost")
NUMBERS = ("price_per_hour", "cost")


def make_charge(job: Job, prices: Prices, flavors: Mapping[str, Flavor], now: datetime) -> Charge:
    units = count_units(job, flavors)
    seconds = count_billed_seconds(job, now)
    expected = get_label(job, "expected")
    begin = job.pending_at or job.started_at
    hour = prices.get_hour(job.flavor, units)
    return Charge(
        run=get_label(job, "run"),
        job=job.id,
        workflow=get_label(job, "workflow"),
        rules=name_rules(get_label(job, "rule")),
        wildcards=" ".join(f"{name}={value}" for name, value in get_wildcards(job).items()),
        flavor=job.flavor,
        units=units,
        attempt=get_label(job, "attempt"),
        state=job.state,
        started=show_time(begin),
        ended=show_time(get_end(job)) if job.ended else "",
        billed_seconds=seconds,
        useful_seconds=count_useful_seconds(job),
        expected_seconds=int(expected) if expected.isdigit() else None,
        price_per_hour=hour and round(hour, 6),
        cost=get_cost(job, units, seconds, prices),
        currency=prices.currency if hour else "",
        lost=1 if is_lost(job) else None,
    )


def get_cost(job: Job, units: int, seconds: int | None, prices: Prices) -> float | None:
    if seconds is None:
        return None
    cost = prices.get_cost(job.flavor, units, seconds) if seconds else 0.0
    return None if cost is None else round(cost, 4)


def count_billed_seconds(job: Job, now: datetime) -> int | None:
    """Up to now if the job lives. None if the platform does not tell enough."""
    begin, end = job.pending_at or job.started_at, get_end(job) if job.ended else now
    if begin is None:
        return 0 if job.ended or job.state in WAITING else None
    return max(0, math.ceil((end - begin).total_seconds())) if end else None


def count_useful_seconds(job: Job) -> int | None:
    if not job.ended:
        return None
    if not job.succeeded:
        return 0
    end = job.stopped_at or get_end(job)
    return max(0, math.ceil((end - job.started_at).total_seconds())) if job.started_at and end else None


def get_end(job: Job) -> datetime | None:
    return job.finalized_at or job.changed_at or job.stopped_at


def show_time(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else ""


# The file ------------------------------------------------------------------------------------------------------------


def read_bill(path: Path) -> list[Charge]:
    """Empty if there is no file. BillError if it holds something else, which must not be replaced."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BillError(f"the bill {path} cannot be read: {error}") from None
    rows = csv.DictReader(io.StringIO(text))
    if text.strip() and not {"job", "cost"} <= set(rows.fieldnames or ()):
        raise BillError(f"{path} is no bill, since its first line does not name `job` and `cost`; name another file")
    return [read_charge(row) for row in rows if row.get("job")]


def read_charge(row: Mapping[str, str | None]) -> Charge:
    values: dict[str, object] = {name: row.get(name) or "" for name in COLUMNS}
    values |= {name: read_number(row.get(name), int) for name in INTEGERS}
    values |= {name: read_number(row.get(name), float) for name in NUMBERS}
    return Charge(**values)  # type: ignore[arg-type]


def read_number(text: str | None, kind: type[int] | type[float]) -> int | float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return kind(number) if math.isfinite(number) else None


def write_bill(path: Path, charges: Iterable[Charge]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for charge in sorted(charges, key=lambda charge: (charge.started or "~", charge.job)):
        writer.writerow({name: "" if value is None else value for name, value in asdict(charge).items()})
    write_text(path, text.getvalue())


def merge(known: Iterable[Charge], new: Iterable[Charge]) -> dict[str, Charge]:
    """By job. What a job has cost stays, though prices change and the platform forgets the job."""
    charges = {charge.job: charge for charge in known}
    for charge in new:
        if charge.job not in charges or not charges[charge.job].final:
            charges[charge.job] = charge
    return charges


def load_charges(
    path: Path, workflow: str, client: Client, prices: Prices, flavors: Mapping[str, Flavor]
) -> list[Charge]:
    """What is known of a workflow's jobs: the bill of this folder, or else what the platform still knows of them."""
    if charges := read_bill(path):
        return charges
    try:
        jobs = [job for job in client.list_jobs() if get_label(job, "workflow").lower() == workflow]
    except OvhaiError:
        return []
    return [make_charge(job, prices, flavors, datetime.now(UTC)) for job in jobs]


# Sums ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Total:
    """unknown: jobs that are not in the sum: their cost is not known, or in another currency than the last one's.

    restarts: jobs that did the same work as an earlier one of their run. lost: machines.
    """

    jobs: int
    unknown: int
    billed: int  # seconds
    useful: int  # seconds
    cost: float
    currency: str
    restarts: int = 0
    lost: int = 0

    @property
    def text(self) -> str:
        share = f", {self.billed / self.useful:.2f} times the {self.useful / 60:.1f} useful ones" if self.useful else ""
        cost = f"{self.cost:,.2f} {self.currency} without VAT"
        if self.unknown:
            cost = f"at least {cost} (the cost of {self.unknown} is unknown)" if self.cost else "an unknown cost"
        return (
            f"{self.jobs} {'job' if self.jobs == 1 else 'jobs'}, {self.billed / 60:.1f} billed minutes{share}, {cost}"
        ) + (f", {self.restarts} restarts, {self.lost} lost machines" if self.restarts or self.lost else "")


def add_up(charges: Iterable[Charge]) -> Total:
    charges = list(charges)
    currency = next((charge.currency for charge in reversed(charges) if charge.currency), "")
    costs = [charge.cost for charge in charges if charge.cost is not None and charge.currency in ("", currency)]
    return Total(
        jobs=len(charges),
        unknown=len(charges) - len(costs),
        billed=sum(charge.billed_seconds or 0 for charge in charges),
        useful=sum(charge.useful_seconds or 0 for charge in charges),
        cost=sum(costs),
        currency=currency,
        restarts=len(charges) - len({(charge.run, charge.rules, charge.wildcards) for charge in charges}),
        lost=sum(charge.lost or 0 for charge in charges),
    )


class Bill:
    """The bill of a workflow, which is written again whenever one of its jobs changes."""

    def __init__(
        self, path: Path, workflow: str, prices: Prices, flavors: Mapping[str, Flavor], notices: Notices
    ) -> None:
        """workflow: the label of its jobs. BillError if the path holds something else."""
        self.path, self.workflow, self.prices, self.flavors, self.notices = path, workflow, prices, flavors, notices
        self.charges = merge([], read_bill(path))
        self.states: dict[str, str] = {}  # of the jobs, when the file was written
        self.written = datetime.fromtimestamp(0, UTC)

    def update(self, jobs: Iterable[Job]) -> None:
        """jobs: all that the platform knows. No error leaves this method: a bill must not end a run."""
        ours = [job for job in jobs if get_label(job, "workflow").lower() == self.workflow]
        now = datetime.now(UTC)
        states = {job.id: job.state for job in ours}
        due = any(not job.ended for job in ours) and (now - self.written).total_seconds() >= PAUSE
        if states == self.states and not due:
            return
        new = [
            make_charge(job, self.prices, self.flavors, now)
            for job in ours
            if job.id not in self.charges or not self.charges[job.id].final
        ]
        self.charges = merge(self.charges.values(), new)
        if self.save():
            self.states, self.written = states, now

    def note_loss(self, job_id: str) -> None:
        """The platform does not know the job any more, or says that it lost it."""
        if job_id in self.charges:
            self.charges[job_id] = replace(self.charges[job_id], lost=1)
            self.save()

    def save(self) -> bool:
        """Whether it has been written."""
        try:
            # Another head of this folder may write the same file, for another workflow.
            write_bill(self.path, merge(read_bill(self.path), self.charges.values()).values())
        except (OSError, BillError) as error:
            self.notices.remind("bill", f"The bill {self.path} cannot be written now: {error}")
            return False
        return True

    @property
    def live(self) -> bool:
        """Whether a job had not ended when the file was written."""
        return any(not charge.ended for charge in self.charges.values() if charge.job in self.states)

    def describe_run(self, run: str) -> str:
        """What the jobs that a run submitted have cost. Empty if there are none."""
        charges = [charge for charge in self.charges.values() if charge.run == run]
        return f"This run so far: {add_up(charges).text}. Bill: {self.path}" if charges else ""
