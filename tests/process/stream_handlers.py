"""A handler whose generators can be watched. Standard library only: real workers load it."""

import asyncio
import os
import signal
from threading import Event, Thread


class Streams:
    """Notes how far its generators came, and how they ended."""

    def __init__(self):
        self._made = 0
        self._ended = []

    def numbers(self, count, size=0):
        self._made = 0
        try:
            for number in range(count):
                self._made += 1
                yield [number, "x" * size] if size else number
        except BaseException as error:
            self._ended.append(type(error).__name__)
            raise
        finally:
            self._ended.append("finally")

    async def later(self, count):
        self._made = 0
        try:
            for number in range(count):
                await asyncio.gather(self._turn())
                self._made += 1
                yield number
        finally:
            self._ended.append("finally")

    async def _turn(self):
        """Others have theirs."""

    def stuck_after(self, items):
        try:
            yield from range(items)
            Event().wait(60)
        finally:
            self._ended.append("finally")

    def stubborn(self, mark):
        try:
            yield 1
            open(mark, "w").close()
            Event().wait(60)
        except BaseException as error:
            self._ended.append(type(error).__name__)
            yield 2
            yield 3
        finally:
            self._ended.append("finally")

    def die_after(self, items):
        yield from range(items)
        os.kill(os.getpid(), signal.SIGKILL)

    def die_when_told(self, items, fifo):
        yield from range(items)
        open(fifo).close()
        os.kill(os.getpid(), signal.SIGKILL)

    def odd_after(self, items):
        yield from range(items)
        yield {1, 2}

    def report(self, steps, size=0, *, progress):
        for step in range(steps):
            progress([step, "x" * size])
        return steps

    def odd_report(self, *, progress):
        progress({1, 2})

    def elsewhere(self, *, progress):
        seen = []

        def run():
            try:
                progress(1)
            except RuntimeError as error:
                seen.append(str(error))

        thread = Thread(target=run)
        thread.start()
        thread.join()
        self._kept_progress = progress
        return seen

    def too_late(self):
        try:
            self._kept_progress(1)
        except RuntimeError as error:
            return str(error)

    def ask(self, name, args=None, *, parent):
        try:
            return parent.call(name, args)
        except parent.Error as error:
            return error.kind
        except BaseException as error:
            self._ended.append(type(error).__name__)
            raise

    def ask_raw(self, name, args=None, *, parent):
        return parent.call(name, args)

    def mine(self, *, progress="default", value=1):
        return [str(progress), value]

    def state(self):
        return [self._made, self._ended]

    def same(self, value):
        return value

    def pid(self):
        return os.getpid()
