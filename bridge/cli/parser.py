"""What can be typed.

Rules: a subcommand is imported when it runs, so that --help and a misspelling cost nothing. Apart from main, which
turns what happens into an exit code.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from bridge.cli import exits

PROGRAM: Final = "scoped-bridge"


def build() -> argparse.ArgumentParser:
    """The parser; `run` of what it parsed takes just that, and answers the exit code."""
    codes = "".join(f"  {code:>3}  {meaning.replace('`', '')}\n" for code, meaning in exits.MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Call Python in worker processes.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")

    call = commands.add_parser("call", help="one call; prints its result as JSON")
    call.add_argument("handler", metavar="HANDLER", help="pkg.mod:Class, pkg.mod or path/to/file.py:Class")
    call.add_argument("command", metavar="COMMAND", help="which of its methods or functions")
    call.add_argument(
        "args", metavar="JSON", nargs="?", type=_arguments, help="arguments: an object by keyword, an array by position"
    )
    call.add_argument("--timeout", metavar="S", type=_seconds, help="seconds for the call, once its worker is ready")
    call.add_argument("--python", metavar="EXE", help="the worker's interpreter: a path or venv:PATH")
    call.set_defaults(run=_call)

    demo = commands.add_parser("demo", help="parse the standard library in workers, one of which is killed halfway")
    demo.add_argument("--size", metavar="N", type=int, help="workers (default: one per CPU, from 2 to 4)")
    demo.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    demo.add_argument("--path", metavar="DIR", help="parse the .py files below DIR in place of the standard library")
    demo.set_defaults(run=_demo)
    return parser


def _arguments(text: str) -> Any:
    try:
        args = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not JSON: {error}") from None
    if not isinstance(args, (dict, list)):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is neither an object nor an array: write {{...}} or [...]")
    return args


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no number of seconds")
    return seconds


def _call(options: argparse.Namespace) -> int:
    from bridge.cli import call

    return call.run(options.handler, options.command, options.args, timeout=options.timeout, python=options.python)


def _demo(options: argparse.Namespace) -> int:
    from bridge.cli import demo

    return demo.run(options.path, size=options.size, as_json=options.json)
