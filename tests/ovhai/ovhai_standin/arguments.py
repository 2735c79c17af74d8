"""Arguments of calls: how they are read, and what is said about wrong ones."""

import argparse
import re
import sys
from typing import NoReturn

from ovhai_standin import volumes

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Parser(argparse.ArgumentParser):
    """Complains about bad usage in the words of clap, the argument parser of the real command."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        sys.stderr.write(f"error: {message}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n")
        sys.exit(2)


def environment_entry(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def seconds(text: str) -> int:
    """30s, 5m, 1h, 7d, 1h30m."""
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise argparse.ArgumentTypeError(f"'{text}': time unit needed, for example 30s, 5m or 1h")
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text))


def volume(text: str) -> str:
    """Checked here, so that mistakes are bad usage; parsed later, because the platform's variant has a say in it."""
    try:
        volumes.parse(text, lose_prefix_with_trailing_slash=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}")
    return text


def output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=["json", "yaml"])
