"""What can be typed of the commands that look at a machine and begin a project.

Rules: those of parser.py. Apart from it for its length.
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add them to argparse's subcommands."""
    doctor = commands.add_parser("doctor", help="see whether workers run here, with this configuration")
    doctor.add_argument("handler", metavar="HANDLER", nargs="?", help="whose workers are tried, too")
    doctor.add_argument("--json", action="store_true", help="print one JSON object in place of the lines")
    doctor.set_defaults(run=_doctor)

    config = commands.add_parser("config", help="list the settings that are in force, and where each comes from")
    config.add_argument("--json", action="store_true", help="print one JSON object in place of the lines")
    config.add_argument("--prefix", metavar="P", default="BRIDGE_", help="of the variables (default: BRIDGE_)")
    config.add_argument("--env-file", metavar="F", help="a dotenv file, as BridgeSettings.load(env_file=F) reads it")
    config.add_argument("--show-env", action="store_true", help="show the values of worker.env, not only their names")
    config.set_defaults(run=_config)

    for what, run in (("handler", _new_handler), ("adapter", _new_adapter)):
        new = commands.add_parser(f"new-{what}", help=f"write files to begin with: the {what} NAME, and its tests")
        new.add_argument("name", metavar="NAME", help="of its module, such as prices")
        new.add_argument("--dir", metavar="D", default=".", help="where to (default: the current directory)")
        new.set_defaults(run=run)


def _doctor(options: argparse.Namespace) -> int:
    from bridge.cli import doctor

    return doctor.run(options.handler, as_json=options.json)


def _config(options: argparse.Namespace) -> int:
    from bridge.cli import config

    return config.run(as_json=options.json, prefix=options.prefix, env_file=options.env_file, show_env=options.show_env)


def _new_handler(options: argparse.Namespace) -> int:
    from bridge.cli import scaffold

    return scaffold.new_handler(options.name, options.dir)


def _new_adapter(options: argparse.Namespace) -> int:
    from bridge.cli import scaffold

    return scaffold.new_adapter(options.name, options.dir)
