"""Handlers that wear out, fall ill, or crash once. They run in a worker; nothing here is imported by a test."""

import os
from pathlib import Path


class Worn:
    """Answers with its pid; can be made larger, ill, or crash."""

    def __init__(self, folder=""):
        self.folder = Path(folder)
        self.ballast = bytearray()

    def pid(self):
        return os.getpid()

    def grow(self, size):
        self.ballast = bytearray(size)
        self.ballast[::4096] = b"x" * len(self.ballast[::4096])
        return os.getpid()

    def crash(self):
        os.abort()

    def crash_once(self, name):
        mark = self.folder / name
        if not mark.exists():
            mark.touch()
            os.abort()
        return os.getpid()


class Ill(Worn):
    """Says whether it is well."""

    def on_health(self):
        return not (self.folder / "ill").exists()


class Silent(Worn):
    """Doesn't answer when it is asked how it is."""

    def on_health(self):
        with (self.folder / "fifo").open():
            pass
