"""`snakemake-ovhai prices`: what flavors cost, and who says so."""

import argparse
import datetime
import json
from pathlib import Path

from ..client import Client, OvhaiError
from ..flavors import Flavor, read_flavors
from ..prices import CATALOGUE, SUBSIDIARY, PriceError, get_refreshed_file, load_prices, refresh
from .selection import CommandError
from .table import print_table

HELP = "show what each flavor costs an hour and unit, without VAT, with the date and the source of each price"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_prices_argument(parser)
    parser.add_argument("--refresh", action="store_true", help="first read OVHcloud's order catalogue, without a login")
    parser.add_argument(
        "--subsidiary",
        metavar="CODE",
        default=SUBSIDIARY,
        help="OVHcloud's subsidiary that bills you, which decides prices and currency (default: %(default)s)",
    )
    parser.add_argument("--catalogue", metavar="URL", help="address of the catalogue (default: OVHcloud's in Europe)")


def add_prices_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prices", metavar="FILE", type=Path, help="YAML file with prices of your own, which win")


def run(arguments: argparse.Namespace, client: Client) -> int:
    try:
        if arguments.refresh:
            address = arguments.catalogue or CATALOGUE.format(arguments.subsidiary.upper())
            refresh(address, get_refreshed_file(), datetime.date.today())
        prices = load_prices(arguments.prices)
    except PriceError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"prices: {get_refreshed_file()} cannot be written: {error.strerror}") from None
    names = sorted({*prices.flavors, *list_flavors(client)})
    if arguments.json:
        known = {name: vars(prices.flavors[name]) if name in prices.flavors else None for name in names}
        print(json.dumps({"currency": prices.currency, "flavors": known}, indent=2))
        return 0
    rows = [("FLAVOR", f"{prices.currency} AN HOUR AND UNIT", "DATE", "SOURCE")]
    for name in names:
        price = prices.flavors.get(name)
        rows.append((name, f"{price.hour:.4g}", price.date, price.source) if price else (name, "unknown", "-", "-"))
    print_table(rows)
    return 0


def list_flavors(client: Client) -> dict[str, Flavor]:
    """Those of the region. None if the platform does not answer, since prices need no login."""
    try:
        return read_flavors(client.list_flavors())
    except OvhaiError:
        return {}
