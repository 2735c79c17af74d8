"""Prices: the plugin's own, OVHcloud's catalogue from a local server, and a file of the user's."""

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import Run

from snakemake_executor_plugin_ovhai.prices import OWN_FILE, PriceError, get_refreshed_file, load_prices, read_catalogue

TODAY = datetime.date(2026, 11, 27)


def make_plan(code: str, *prices: Any, capacity: str = "consumption") -> dict[str, Any]:
    """An addon of the catalogue with the fields of `order.catalog.public.Plan` and `...Pricing` of OVHcloud's API."""
    pricings = [
        {
            "capacities": [capacity],
            "commitment": 0,
            "description": "consumption",
            "interval": 0,
            "intervalUnit": "none",
            "mode": "default",
            "mustBeCompleted": False,
            "phase": 0,
            "price": price,
            "quantity": {"min": 1, "max": None},
            "repeat": {"min": 1, "max": None},
            "strategy": "tiered",
            "tax": 0,
            "type": "consumption",
        }
        for price in prices
    ]
    return {"planCode": code, "invoiceName": code, "pricingType": "consumption", "pricings": pricings, "product": "x"}


CATALOGUE = {
    "catalogId": 1,
    "locale": {"currencyCode": "EUR", "subsidiary": "FR", "taxRate": 20},
    "plans": [],
    "addons": [
        make_plan("ai-training.ai1-1-cpu.minute.consumption", 60_000),
        make_plan("ai-training.AI1-1-GPU.minute.consumption", 3_216_666),
        make_plan("ai-training.h200-4-gpu.minute.consumption", 23_000_000),
        make_plan("ai-training.free-1-gpu.minute.consumption", 0),
        make_plan("ai-training.broken-1-gpu.minute.consumption", None, "7"),
        make_plan("ai-training.old-1-gpu.hour.consumption", 1),
        make_plan("ai-notebook.ai1-1-gpu.minute.consumption", 1),
        {"planCode": "b2-7.consumption"},
        "no addon",
    ],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def catalogue() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server, and what it answers next; it has one answer at first."""
    answers = [json.dumps(CATALOGUE).encode()]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if answers else 503)
            self.end_headers()
            self.wfile.write(answers[0] if answers else b"")

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/1.0/order/catalog/public/cloud?ovhSubsidiary=FR", answers
        server.shutdown()


def test_each_price_of_the_plugin_has_a_date_and_a_source() -> None:
    prices = load_prices()
    entries = yaml.safe_load(OWN_FILE.read_text())["flavors"]
    assert prices.currency == "EUR" and prices.flavors
    assert all(entry["price"] > 0 and str(entry["date"]) >= "2026" and entry["source"] for entry in entries.values())


def test_prices_are_per_unit_and_started_minute_and_unknown_ones_are_none() -> None:
    prices = load_prices()
    assert prices.get_hour("ai1-1-gpu", 2) == 3.86
    assert prices.get_cost("ai1-1-gpu", 1, 61) == pytest.approx(1.93 / 30)
    assert prices.get_cost("ai1-1-gpu", 1, 60) == pytest.approx(1.93 / 60)
    assert prices.get_hour("nobody-1-gpu", 1) is prices.get_cost("nobody-1-gpu", 1, 0) is None
    assert prices.show(None) == "unknown"


def test_the_catalogue_is_read_per_flavor() -> None:
    prices = read_catalogue(CATALOGUE, "there", TODAY)
    assert {name: price.hour for name, price in prices.flavors.items()} == {
        "ai1-1-cpu": 0.036,
        "ai1-1-gpu": 1.93,
        "h200-4-gpu": 13.8,
    }
    assert prices.flavors["ai1-1-gpu"].date == "2026-11-27" and prices.flavors["ai1-1-gpu"].source == "there"


def test_of_several_prices_the_highest_for_consumption_counts() -> None:
    plan = make_plan("ai-training.a-1-gpu.minute.consumption", 100_000, 200_000)
    plan["pricings"] += make_plan("x", 900_000, capacity="renew")["pricings"]
    prices = read_catalogue({"locale": {"currencyCode": "EUR"}, "addons": [plan]}, "there", TODAY)
    assert prices.flavors["a-1-gpu"].hour == 0.12


@pytest.mark.parametrize("content", [None, [], {}, {"addons": CATALOGUE["addons"]}, {"locale": CATALOGUE["locale"]}])
def test_a_catalogue_without_prices_is_an_error(content: Any) -> None:
    with pytest.raises(PriceError, match="no price of AI Training"):
        read_catalogue(content, "there", TODAY)


def test_the_command_refreshes_and_says_who_says_so(run: Run, catalogue: tuple[str, list[bytes]]) -> None:
    address, _ = catalogue
    code, before, _ = run("prices")
    assert code == 0 and "guide" in before and "a100-1-gpu" in before  # which the platform has, without a price
    assert next(line for line in before.splitlines() if line.startswith("a100-1-gpu")).split()[1] == "unknown"
    code, out, err = run("prices", "--refresh", "--catalogue", address, "--json")
    assert code == 0, err
    flavors = json.loads(out)["flavors"]
    assert flavors["ai1-1-cpu"]["hour"] == 0.036 and flavors["ai1-1-cpu"]["source"] == address
    assert flavors["l4-1-gpu"]["hour"] == 0.75  # the catalogue does not have it, so the plugin's own price stays
    assert flavors["a100-1-gpu"] is None
    assert load_prices().get_hour("h200-4-gpu", 1) == 13.8  # also without the network


@pytest.mark.parametrize("answer", [b"<html>", b"{}", None])
def test_a_refresh_that_fails_leaves_the_prices(
    run: Run, catalogue: tuple[str, list[bytes]], answer: bytes | None
) -> None:
    address, answers = catalogue
    assert run("prices", "--refresh", "--catalogue", address)[0] == 0
    kept = get_refreshed_file().read_bytes()
    answers[:] = [answer] if answer else []
    code, out, err = run("prices", "--refresh", "--catalogue", address)
    assert (
        code == 1 and not out and err.startswith("snakemake-ovhai: prices: http://127.0.0.1") and "\n" not in err[:-1]
    )
    assert get_refreshed_file().read_bytes() == kept
    assert [path.name for path in get_refreshed_file().parent.iterdir()] == ["prices.yaml"]


def test_without_a_network_the_command_says_so(run: Run) -> None:
    code, _, err = run("prices", "--refresh", "--catalogue", "http://127.0.0.1:9/")
    assert code == 1 and "cannot be read" in err


def test_a_file_of_ones_own_wins(home: Path) -> None:
    file = home / "prices.yaml"
    file.write_text(
        "currency: EUR\nflavors:\n  ai1-1-gpu: 1.5\n  b200-8-gpu: {price: 40, date: 2026-11, source: offer}\n"
    )
    prices = load_prices(file)
    assert prices.get_hour("ai1-1-gpu", 1) == 1.5 and prices.flavors["ai1-1-gpu"].source == str(file)
    assert prices.get_hour("b200-8-gpu", 1) == 40 and prices.get_hour("l4-1-gpu", 1) == 0.75


def test_prices_in_another_currency_are_never_mixed(home: Path) -> None:
    file = home / "prices.yaml"
    file.write_text("currency: USD\nflavors:\n  h100-1-gpu: 3.39\n")
    prices = load_prices(file)
    assert prices.currency == "USD" and set(prices.flavors) == {"h100-1-gpu"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flavors: {}", "needs `currency:`"),
        ("currency: euro\nflavors: {}", "needs `currency:`"),
        ("- 1", "needs `currency:`"),
        ("a: [", "is not YAML"),
        ("currency: EUR\nflavors:\n  x: 0", "flavor x: price is 0; it is a number above 0"),
        ("currency: EUR\nflavors:\n  x: -1", "price is -1"),
        ("currency: EUR\nflavors:\n  x: .inf", "price is inf"),
        ("currency: EUR\nflavors:\n  x: yes", "price is True"),
        ("currency: EUR\nflavors:\n  x: {date: 2026}", "price is None"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_allowed(run: Run, home: Path, text: str | None, words: str) -> None:
    file = home / "prices.yaml"
    if text is not None:
        file.write_text(text)
    code, _, err = run("prices", "--prices", str(file))
    assert code == 1 and words in err and str(file) in err
