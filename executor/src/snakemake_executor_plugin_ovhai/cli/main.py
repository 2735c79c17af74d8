"""The command line of snakemake-ovhai, and its errors: each is one line, never a traceback."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from ..client import Client, NotAuthenticatedError, OvhaiError, RefusedError
from ..credentials import hide_secrets
from . import bill, doctor, jobs, logs, prices, push, quote, reap, stop
from .selection import CommandError


class Subcommand(Protocol):
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace, client: Client) -> int: ...


SUBCOMMANDS: dict[str, Subcommand] = {
    "doctor": doctor,
    "jobs": jobs,
    "logs": logs,
    "stop": stop,
    "reap": reap,
    "push": push,
    "prices": prices,
    "quote": quote,
    "bill": bill,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: success, 1: something is wrong, 2: wrong usage, 130: Ctrl-C."""
    arguments = get_parser().parse_args(argv)
    try:
        code = SUBCOMMANDS[arguments.command].run(arguments, Client())
        sys.stdout.flush()
        return code
    except CommandError as error:
        return complain(str(error))
    except NotAuthenticatedError as error:
        return complain(f"{error}. Run `ovhai login`.")
    except RefusedError as error:
        return complain(f"{error}. `snakemake-ovhai doctor` checks the whole setup.")
    except OvhaiError as error:
        return complain(f"{error}. Try again later; `snakemake-ovhai doctor` checks the whole setup.")
    except KeyboardInterrupt:
        return complain("interrupted", code=130)
    except BrokenPipeError:  # `| head`; what is left to print must not raise it again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return complain(f"unexpected {error!r}; this is a defect of snakemake-ovhai, please report it")


def complain(text: str, code: int = 1) -> int:
    print("snakemake-ovhai: " + " ".join(hide_secrets(text).split()), file=sys.stderr)
    return code


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="snakemake-ovhai",
        description="Check, list, follow and stop jobs that Snakemake's executor ovhai runs on OVHcloud AI Training, "
        "and say what they cost.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, subcommand in SUBCOMMANDS.items():
        text = subcommand.HELP
        subparser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        subparser.add_argument("--json", action="store_true", help="print JSON on standard output")
        subcommand.add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
