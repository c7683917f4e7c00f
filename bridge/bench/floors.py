"""The least that can be: a bare interpreter, and a child at the end of two bare pipes.

Rules: nothing of ours, and no more code than the work needs; each child is killed and waited for by whoever made it
(`close`), and a Ctrl-C in a terminal reaches it through him alone. Apart from the peers, which
are other people's pools.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

from bridge.bench.subjects import PAYLOAD

ECHO_JSON: Final = """
import json, os, sys
encode, decode = json.JSONEncoder(separators=(",", ":")).encode, json.JSONDecoder().decode
r, w = map(int, sys.argv[1:])
while data := os.read(r, 65536):
    os.write(w, encode(decode(str(data, "utf-8"))).encode())
"""
ECHO_BYTES: Final = """
import os, sys
r, w, size = map(int, sys.argv[1:])
source = open(r, "rb", buffering=0)
while True:
    data = memoryview(bytearray(size))
    got = 0
    while got < size:
        more = source.readinto(data[got:])
        if not more: sys.exit()
        got += more
    sent = 0
    while sent < size: sent += os.write(w, data[sent:])
"""
ANSWER: Final = "import os\nos.write(1, b'x')\nos.read(0, 1)"


class Child:
    """A program with a pipe to it and one from it.

    Args:
        program: Gets the numbers of its two descriptors as arguments, then these.
    """

    def __init__(self, program: str, *arguments: int) -> None:
        theirs_in, self.write_fd = os.pipe()
        self.read_fd, theirs_out = os.pipe()
        try:
            words = map(str, (theirs_in, theirs_out, *arguments))
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *words],
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # one whose start Ctrl-C interrupts ends by itself, at a broken pipe
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self.pid = self._process.pid

    def _close(self) -> None:
        os.close(self.write_fd)
        os.close(self.read_fd)

    def close(self) -> None:
        """Kill it, and wait for it."""
        self._process.kill()
        self._process.wait()
        self._close()


class JsonChild(Child):
    """Echoes JSON, with an encoder and a decoder that are built once at both ends."""

    def __init__(self) -> None:
        super().__init__(ECHO_JSON)
        self._encode = json.JSONEncoder(separators=(",", ":")).encode
        self._decode = json.JSONDecoder().decode
        self._payload = dict(PAYLOAD)

    def call(self) -> object:
        """One round trip."""
        os.write(self.write_fd, self._encode(self._payload).encode())
        return self._decode(str(os.read(self.read_fd, 65536), "utf-8"))


class BytesChild(Child):
    """Gives back so many bytes at a time, from a new buffer."""

    def __init__(self, size: int) -> None:
        super().__init__(ECHO_BYTES, size)
        self._size = size
        self._source = open(self.read_fd, "rb", buffering=0, closefd=False)  # noqa: SIM115  closed with the descriptor

    def call(self, data: memoryview) -> bytearray:
        """One round trip, into a new buffer."""
        sent = 0
        while sent < self._size:
            sent += os.write(self.write_fd, data[sent:])
        back = bytearray(self._size)
        view, got = memoryview(back), 0
        while got < self._size:
            got += self._source.readinto(view[got:])
        return back


class Answering:
    """A bare interpreter that has answered once and then waits: a worker without anything to do."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        try:
            self._process.stdout.read(1)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill it, and wait for it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()


def bare(count: int = 1, program: str = "pass") -> None:
    """So many interpreters at once, from their start to their end."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            words = [sys.executable, "-c", program]
            children += [subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)]
        for child in children:
            child.wait()
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
