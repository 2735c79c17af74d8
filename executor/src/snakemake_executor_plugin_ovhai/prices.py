"""What a unit of a flavor costs an hour: a file with date and source of each price, and OVHcloud's catalogue.

Three files may have a price, and the last one that has it counts: the plugin's own (prices.yaml), what
`snakemake-ovhai prices --refresh` has written on this machine, and the file that the user names.
"""

import datetime
import json
import math
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .records import get_list, get_map, get_text

OWN_FILE = Path(__file__).parent / "prices.yaml"
# The control panel multiplies the same entries by the units and by 60 for its price an hour (its module "training").
CATALOGUE = "https://eu.api.ovh.com/1.0/order/catalog/public/cloud?ovhSubsidiary={}"
SUBSIDIARY = "FR"  # decides the currency
PLAN = re.compile(r"ai-training\.([a-z0-9-]+)\.minute\.consumption")
MICRO_CENTS = 10**8  # of one euro: the API's description of `order.catalog.public.Pricing`
TIMEOUT = 60.0  # seconds; the catalogue has megabytes
LARGEST = 200_000_000  # bytes of an answer


class PriceError(ValueError):
    """A file or the catalogue cannot be read. The text says which, what is wrong, and what is allowed."""


@dataclass(frozen=True)
class Price:
    """hour: currency per hour and unit, without VAT. date: when the source said so."""

    hour: float
    date: str
    source: str


@dataclass(frozen=True)
class Prices:
    """Prices by flavor, all in one currency."""

    currency: str
    flavors: Mapping[str, Price]

    def get_hour(self, flavor: str, units: int) -> float | None:
        """What a job costs an hour. None if the price is not known."""
        price = self.flavors.get(flavor)
        return price.hour * units if price else None

    def get_cost(self, flavor: str, units: int, seconds: float) -> float | None:
        """Started minutes are paid. None if the price is not known."""
        hour = self.get_hour(flavor, units)
        return None if hour is None else hour / 60 * math.ceil(seconds / 60)

    def show(self, cost: float | None) -> str:
        return "unknown" if cost is None else f"{cost:,.2f} {self.currency}"


def load_prices(own: Path | None = None) -> Prices:
    """own: the user's file. PriceError if a file cannot be read."""
    files = [OWN_FILE, *filter(Path.exists, [get_refreshed_file()]), *([own] if own else [])]
    return merge(read_prices(file) for file in files)


def merge(layers: Iterable[Prices]) -> Prices:
    """The last layer that has a price counts. So does its currency: sums over two of them would mean nothing."""
    found = Prices("EUR", {})
    for layer in layers:
        earlier = found.flavors if found.currency == layer.currency else {}
        found = Prices(layer.currency, {**earlier, **layer.flavors})
    return found


def get_refreshed_file() -> Path:
    """Where the catalogue's prices are kept on this machine."""
    folder = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(folder) / "snakemake-ovhai" / "prices.yaml"


def read_prices(path: Path) -> Prices:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PriceError(f"prices: {path} cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise PriceError(f"prices: {path} is not YAML: {' '.join(str(error).split())}") from None
    entries = content.get("flavors") if isinstance(content, dict) else None
    currency = content.get("currency") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not re.fullmatch(r"[A-Z]{3}", str(currency)):
        raise PriceError(f"prices: {path} needs `currency:`, such as EUR, and `flavors:` with an entry for each flavor")
    return Prices(str(currency), {str(name): read_price(path, name, entry) for name, entry in entries.items()})


def read_price(path: Path, name: object, entry: object) -> Price:
    """An entry is a number, or a map with `price`, `date` and `source`."""
    record = entry if isinstance(entry, dict) else {"price": entry}
    hour = record.get("price")
    if isinstance(hour, bool) or not isinstance(hour, int | float) or not (math.isfinite(hour) and hour > 0):
        raise PriceError(
            f"prices: {path}: flavor {name}: price is {hour!r}; it is a number above 0, per hour and unit. "
            "Leave out a flavor whose price you do not know"
        )
    return Price(float(hour), str(record.get("date") or "unknown"), str(record.get("source") or path))


# OVHcloud's order catalogue ------------------------------------------------------------------------------------------


def refresh(address: str, path: Path, today: datetime.date) -> Prices:
    """Read the catalogue and keep its prices in a file. PriceError if that fails; the file is then as before."""
    prices = read_catalogue(download(address), address, today)
    record = {
        "currency": prices.currency,
        "flavors": {
            name: {"price": price.hour, "date": price.date, "source": price.source}
            for name, price in prices.flavors.items()
        },
    }
    write_text(path, yaml.safe_dump(record, sort_keys=True))
    return prices


def download(address: str) -> Any:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as reply:
            content = reply.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise PriceError(f"prices: {address} cannot be read: {error}") from None
    if len(content) > LARGEST:
        raise PriceError(f"prices: {address} answers with more than {LARGEST / 1e6:.0f} MB")
    try:
        return json.loads(content)
    except ValueError:
        raise PriceError(f"prices: {address} does not answer with JSON: {content[:80]!r}") from None


def read_catalogue(catalogue: Any, source: str, today: datetime.date) -> Prices:
    """The entries of AI Training. A price of 0 is none: nothing tells why it would be free."""
    record = catalogue if isinstance(catalogue, dict) else {}
    found = {}
    for addon in get_list(record, "addons"):
        plan = PLAN.fullmatch(get_text(addon, "planCode").lower()) if isinstance(addon, dict) else None
        minute = read_minute(get_list(addon, "pricings")) if plan else None
        if plan and minute:
            found[plan[1]] = Price(round(minute * 60 / MICRO_CENTS, 6), today.isoformat(), source)
    currency = get_text(get_map(record, "locale"), "currencyCode")
    if not found or not currency:
        raise PriceError(
            f"prices: {source} has no price of AI Training (`ai-training.FLAVOR.minute.consumption` among `addons`); "
            "put the prices of your contract into a file, and name it with --ovhai-prices"
        )
    return Prices(currency, found)


def read_minute(pricings: list[Any]) -> int | None:
    """Micro-cents per minute and unit. If there are several, the highest: what is said is not to be too low."""
    known = [entry for entry in pricings if isinstance(entry, dict) and isinstance(entry.get("price"), int)]
    usable = [entry for entry in known if entry["price"] > 0]
    consumption = [entry for entry in usable if "consumption" in get_list(entry, "capacities")]
    return max((entry["price"] for entry in consumption or usable), default=None)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
