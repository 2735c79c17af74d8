"""`ovhai me`, `ovhai login`, `ovhai capabilities`."""

import argparse
import os
from typing import Any

from ovhai_standin import flavors
from ovhai_standin.answers import Refusal, formatted, table
from ovhai_standin.arguments import output_option
from ovhai_standin.folder import PlatformFolder


def me(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    settings = folder.settings()
    quota = {kind.upper(): number for kind, number in settings["quota"].items()}
    account = {
        "name": settings["user"],
        "tenant": "0" * 32,
        "role": "ai_training_operator",
        "tokenKind": "oauth",
        "trustId": "0" * 32,
        "quotas": {"resources": quota, "storage": 10**12},
    }
    return formatted(account, arguments.output)


def login(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    if arguments.password_from_env and not os.environ.get(arguments.password_from_env):
        raise Refusal(f"error: environment variable {arguments.password_from_env} is not set")
    folder.change_settings(logged_in=True)
    return "Logged in\n"


def capabilities_flavor_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    known = list(flavors.FLAVORS.values())
    if arguments.output:
        return formatted(known, arguments.output)
    titles = ["ID", "TYPE", "DESCRIPTION", "CPU-PER-UNIT", "MEMORY-PER-UNIT", "GPU_INFORMATION.INFO", "DEFAULT", "MAX"]
    return table(titles, [flavor_row(entry) for entry in known])


def flavor_row(entry: dict[str, Any]) -> list[str]:
    unit = entry["resourcesPerUnit"]
    gpu = entry.get("gpuInformation", {}).get("gpuModel", "~")
    memory = f"{unit['memory'] / 2**30:.1f} GiB"
    return [
        entry["id"],
        entry["type"],
        entry["description"],
        str(unit["cpu"]),
        memory,
        gpu,
        str(entry["default"]).lower(),
        str(entry["max"]),
    ]


def login_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-u", "--username")
    parser.add_argument("--password-from-env")


COMMANDS = {
    "me": (output_option, me),
    "login": (login_parser, login),
    "capabilities flavor list": (output_option, capabilities_flavor_list),
}
