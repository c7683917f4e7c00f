"""Handlers that the tests call. They run in a worker: nothing here is imported by a test."""

import os
import signal
import sys
import time


class Echo:
    """Answers with what it is given, and can be made to fail in every way."""

    def __init__(self, greeting="hello"):
        self.greeting = greeting
        self.count = 0

    def echo(self, value=None):
        return value

    def greet(self, name):
        return f"{self.greeting}, {name}"

    def add(self, a, b=1):
        return a + b

    def counted(self):
        self.count += 1
        return self.count

    def pid(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def spin(self):
        while True:
            pass

    def fail(self, message="no"):
        raise ValueError(message)

    def crash(self, number=int(signal.SIGKILL)):
        os.kill(os.getpid(), number)

    def leave(self, code=3):
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        os._exit(code)

    def unencodable(self):
        return {"items": [1, {"when": {1, 2}}]}

    def on_reset(self):
        self.count = 0

    def _hidden(self):
        return "hidden"
