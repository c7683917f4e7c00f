"""What can be typed.

Rules: a subcommand is imported when it runs, so that --help and a misspelling cost nothing. Apart from main, which
turns what happens into an exit code.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from bridge.cli import exits, typed, watched

PROGRAM: Final = "scoped-bridge"
SECTIONS: Final = (
    *("latency", "throughput", "async", "map", "start", "recover", "scope", "memory", "payload", "growth"),
    "all",
)
"""Of `bench`; those of bridge.bench, which is imported when it runs."""
ROUNDS: Final = 15


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

    each = commands.add_parser("map", help="one command for each line of stdin; prints the results in their order")
    each.add_argument("handler", metavar="HANDLER", help="pkg.mod:Class, pkg.mod or path/to/file.py:Class")
    each.add_argument("command", metavar="COMMAND", help="which of its methods or functions")
    each.add_argument("--arg", metavar="NAME", help="a line is the value of that one parameter, not all arguments")
    each.add_argument("--resume", metavar="OUT", help="add the results to this file, but for lines that are done there")
    each.add_argument("--errors", metavar="F.jsonl", help="write what each failed line said to a file")
    each.add_argument("--size", metavar="N", type=int, help="workers (default: the setting pool.size)")
    each.add_argument("--timeout", metavar="S", type=_seconds, help="seconds for each call")
    each.add_argument("--python", metavar="EXE", help="the workers' interpreter: a path or venv:PATH")
    each.add_argument("--idempotent", action="store_true", help="running one twice does no harm: repeat after a crash")
    each.set_defaults(run=_map)

    tape = commands.add_parser("verify", help="make the calls of a cassette on the real handler; prints what differs")
    tape.add_argument("cassette", metavar="CASSETTE", help="path of the file")
    tape.add_argument("handler", metavar="HANDLER", help="pkg.mod:Class, pkg.mod or path/to/file.py:Class")
    tape.add_argument("--redact", metavar="KEY", action="append", help="a key that is redacted there; may be repeated")
    tape.add_argument("--timeout", metavar="S", type=_seconds, help="seconds for each call")
    tape.add_argument("--python", metavar="EXE", help="the worker's interpreter: a path or venv:PATH")
    tape.set_defaults(run=_verify)

    watched.add(commands)
    demo = commands.add_parser("demo", help="parse the standard library in workers, one of which is killed halfway")
    demo.add_argument("--size", metavar="N", type=int, help="workers (default: one per CPU, from 2 to 4)")
    demo.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    demo.add_argument("--path", metavar="DIR", help="parse the .py files below DIR in place of the standard library")
    demo.add_argument(
        "--launcher", metavar="CMD", help="start the workers behind it, as in 'ssh host'; what is killed is its process"
    )
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", help="measure it beside the floor and the standard library")
    bench.add_argument("section", nargs="?", choices=SECTIONS, default="all", help="what to measure (default: all)")
    bench.add_argument("--json", metavar="F", help="write every sample to a file; - is stdout, without the table")
    bench.add_argument("--plot", metavar="F.svg", help="draw it")
    bench.add_argument("--check", action="store_true", help="end with 1 when a budget is missed")
    effort = bench.add_mutually_exclusive_group()
    effort.add_argument(
        "--rounds", metavar="N", type=_rounds, default=ROUNDS, help=f"samples of each (default: {ROUNDS})"
    )
    effort.add_argument("--quick", action="store_true", help="only see whether it works: the figures are worth nothing")
    bench.set_defaults(run=_bench)

    typed.add(commands)
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


def _rounds(text: str) -> int:
    try:
        rounds = int(text)
    except ValueError:
        rounds = 0
    if not 1 <= rounds <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no number of rounds")
    return rounds


def _call(options: argparse.Namespace) -> int:
    from bridge.cli import call

    return call.run(options.handler, options.command, options.args, timeout=options.timeout, python=options.python)


def _map(options: argparse.Namespace) -> int:
    from bridge.cli import map as bulk

    names = bulk.Options._fields
    return bulk.run(bulk.Options(**{name: getattr(options, name) for name in names}), PROGRAM)


def _verify(options: argparse.Namespace) -> int:
    from bridge.cli import verify

    return verify.run(
        options.cassette,
        options.handler,
        redact=options.redact,
        timeout=options.timeout,
        python=options.python,
    )


def _demo(options: argparse.Namespace) -> int:
    from bridge.cli import demo

    return demo.run(options.path, size=options.size, as_json=options.json, launcher=options.launcher)


def _bench(options: argparse.Namespace) -> int:
    from bridge.cli import bench

    return bench.run(
        options.section,
        json_to=options.json,
        plot_to=options.plot,
        rounds=options.rounds,
        quick=options.quick,
        check=options.check,
    )
