"""Interpreters that aren't what they seem: programs that take a worker's argv and speak the protocol wrongly.

Rules: the wrong one comes first; every later start is a real worker, so that a test sees the pool work on. Apart from
the tests because several of them need it.
"""

from __future__ import annotations

import sys
from pathlib import Path

PREAMBLE = """
import json, os, signal, sys
from importlib.util import module_from_spec, spec_from_file_location

_spec = spec_from_file_location("wire", os.path.join(os.path.dirname(sys.argv[3]), "wire.py"))
wire = module_from_spec(_spec)
_spec.loader.exec_module(wire)
request, reply = int(sys.argv[4]), int(sys.argv[5])

def read():
    "One frame's call id; the test's frames are small, and come whole."
    return wire.HEADER.unpack_from(os.read(request, 65536))[4]

def send(_kind, _call_id=0, **body):
    os.write(reply, wire.pack(_kind, _call_id, json.dumps(body).encode(), wire.CODEC_JSON))

def hello():
    send(wire.HELLO, protocol=wire.PROTOCOL, pid=os.getpid(), python="3.8.0", executable=sys.executable)

def get_ready():
    hello()
    read()
    send(wire.READY, hooks=[])

"""


class Rogue:
    """Makes interpreters in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def script(self, text: str) -> str:
        """An executable shell script; its path."""
        self._count += 1
        path = self._folder / f"interpreter{self._count}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def once(self, body: str) -> str:
        """An interpreter whose first start runs this Python code, with PREAMBLE's names; later ones are honest."""
        program = self._folder / f"rogue{self._count}.py"
        program.write_text(PREAMBLE + body)
        spent = self._folder / f"spent{self._count}"
        return self.script(
            f'if mkdir "{spent}" 2>/dev/null; then exec "{sys.executable}" "{program}" "$@"; fi\n'
            f'exec "{sys.executable}" "$@"'
        )
