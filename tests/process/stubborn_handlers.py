"""Handlers that are told to stop: some do, some don't. They run in a worker; nothing here is imported by a test."""

import os
import signal
import time
from select import select


class Stubborn:
    """Each command takes `seconds`, unless it is stopped."""

    def __init__(self):
        self.seen = []

    def pid(self):
        return os.getpid()

    def history(self):
        return self.seen

    def on_reset(self):
        self.seen = []

    def nap(self, seconds):
        select([], [], [], seconds)
        return "slept"

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    def tidy(self, seconds):
        try:
            select([], [], [], seconds)
        except BaseException as error:
            self.seen.append(type(error).__name__)
            raise
        finally:
            self.seen.append("finally")

    def swallow(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                select([], [], [], seconds)
            except BaseException as error:
                self.seen.append(type(error).__name__)

    def swallow_once(self, seconds):
        try:
            select([], [], [], seconds)
        except BaseException as error:
            return type(error).__name__

    def mask(self, seconds):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
        select([], [], [], seconds)

    def block(self, seconds):
        sum(range(int(seconds * 1e9)))  # a loop in C, which keeps the GIL and looks for no signal

    def die(self, seconds):
        try:
            select([], [], [], seconds)
        except BaseException:
            import ctypes  # here: it would slow down each start

            libc = ctypes.CDLL(None)
            if libc.fork() == 0:  # not os.fork: no hook of the worker's runs, and its pipes stay open
                libc.pause()
            os._exit(3)

    def echo(self, value):
        return value

    def reply(self, size):
        return "x" * size
