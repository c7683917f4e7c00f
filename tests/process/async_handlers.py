"""Handlers with `async def` commands. They run in a worker; nothing here is imported by a test."""

import asyncio
import os

KEPT: "list[object]" = []
"""Generators that outlive their handler, so that nothing but the end of the loop ends them."""


async def turn():
    """Let the loop go round once."""
    await asyncio.ensure_future(nothing())


async def nothing():
    pass


class Async:
    """Its hooks are `async def` too."""

    async def on_start(self):
        self.loop = asyncio.get_running_loop()
        self.seen = []
        self.background = None

    async def on_close(self):
        print("closed on the same loop:", asyncio.get_running_loop() is self.loop, flush=True)

    def pid(self):
        return os.getpid()

    def history(self):
        return self.seen

    async def same_loop(self):
        return asyncio.get_running_loop() is self.loop

    async def both(self, values):
        async def double(value):
            await turn()
            return value * 2

        return await asyncio.gather(*map(double, values))

    async def fail(self, message):
        await turn()
        raise KeyError(message)

    async def leave(self, code):
        raise SystemExit(code)

    async def give_up(self):
        raise asyncio.CancelledError("of its own")

    async def nap(self, seconds):
        try:
            await asyncio.wait_for(asyncio.Event().wait(), seconds)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        finally:
            self.seen.append("finally")

    async def refuse(self, seconds):
        try:
            await asyncio.wait_for(asyncio.Event().wait(), seconds)
        except asyncio.CancelledError:
            return "no"

    async def leave_behind(self):
        async def wait():
            try:
                await asyncio.Event().wait()
            finally:
                print("left behind: ended", flush=True)

        async def count():
            try:
                yield 1
            finally:
                await turn()
                print("generator: ended", flush=True)

        self.background = asyncio.ensure_future(wait())
        counter = count()
        KEPT.append(counter)
        await counter.__anext__()
