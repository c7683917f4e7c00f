"""The handler that AdapterContract calls, whatever it is called through.

Rules: standard library only, Python 3.8 syntax, since a worker of any interpreter loads this file. Apart from the suite
because that is imported by tests, and this by workers.
"""

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List


class ContractError(Exception):
    """What `fail` raises."""


class ContractHandler:
    """Answers with what it is given, keeps what it is told, and can be made to fail.

    Args:
        diary: Path of a file to which the hooks `on_start` and `on_close` add their names.
        load_seconds: How long `on_start` takes.
    """

    def __init__(self, diary: str = "", load_seconds: float = 0.0) -> None:
        self._diary, self._load_seconds = diary, load_seconds
        self._kept = []  # type: List[Any]
        self._sessions = []  # type: List[Any]

    def echo(self, value: "Any" = None) -> "Any":
        """Its argument."""
        return value

    def add(self, a: "Any", b: "Any" = 1) -> "Any":
        """The sum of two."""
        return a + b

    async def later(self, value: "Any") -> "Any":
        """Its argument, when other tasks have had their turn."""
        import asyncio

        await asyncio.sleep(0)
        return value

    def keep(self, value: "Any") -> "List[Any]":
        """All that was kept since the last reset, this one last."""
        self._kept.append(value)
        return self._kept

    def count(self, items: int, fail_at: int = -1) -> "Iterator[int]":
        """So many numbers, the error of `fail` in place of one of them; how far it came is kept, and its end."""
        try:
            for number in range(items):
                if number == fail_at:
                    self.fail("at %d" % number)
                self._kept.append(number)
                yield number
        finally:
            self._kept.append("closed")

    async def count_later(self, items: int) -> "Any":
        """The same, made by a coroutine."""
        import asyncio

        for number in range(items):
            await asyncio.sleep(0)
            yield number

    def repeat(self, value: "Any", times: int) -> "Iterator[Any]":
        """So many items."""
        for _ in range(times):
            yield value

    def tell(self, value: "Any", *, progress: "Callable[[Any], None]") -> bytes:
        """Report it."""
        progress(value)
        return b"told"

    def kept(self) -> "List[Any]":
        """What was kept."""
        return self._kept

    def work(self, steps: int, *, progress: "Callable[[Any], None]") -> int:
        """Report each step."""
        for step in range(steps):
            progress({"step": step})
        return steps

    def left(self, *, context: "Any") -> "Any":
        """Seconds that its caller waits; none without a deadline."""
        seconds = context.remaining()
        return None if seconds == float("inf") else seconds

    def ask(self, name: str, args: "Any" = None, *, parent: "Any") -> "Any":
        """Ask the caller, and say what comes of it."""
        try:
            return {"value": parent.call(name, args)}
        except parent.Error as error:
            return {"kind": error.kind, "message": error.message}

    def remember(self, value: "Any", *, session: "Any") -> "List[Any]":
        """All that was remembered in this session, this one last."""
        session["kept"] = [*session.get("kept", []), value]
        return list(session["kept"])

    def forget(self, how: str = "fail", *, session: "Any") -> None:
        """Lose it all, and then fail: by an error, by a state that can't travel, by the end of the process."""
        session["kept"] = {1, 2} if how == "unencodable" else ["half done"]
        if how == "crash":
            self.crash()
        if how == "fail":
            self.fail("forgotten")

    def recall(self, *, session: "Any") -> "Iterator[Any]":
        """What was remembered, one after the other; each is gone then."""
        while session.get("kept"):
            yield session["kept"].pop(0)

    def whose(self, *, session: "Any" = None) -> "Any":
        """The state of its session; none outside of one."""
        return session

    def sessions(self) -> "List[Any]":
        """What the hooks of sessions were told."""
        return self._sessions

    def on_session_start(self, key: str, session: "Any") -> None:
        """Before its first call here."""
        self._sessions.append(["start", key, dict(session)])

    def on_session_end(self, key: str, session: "Any") -> None:
        """After its last call here."""
        self._sessions.append(["end", key, dict(session)])

    def fail(self, message: str = "no") -> None:
        """Raise ContractError."""
        raise ContractError(message)

    def unencodable(self) -> "Any":
        """A value that JSON can't carry, three levels deep."""
        return {"items": [1, {"when": {1, 2}}]}

    def letters(self, count: int) -> str:
        """A text of so many characters."""
        return "x" * count

    def nap(self, seconds: float) -> float:
        """Take some time."""
        time.sleep(seconds)
        return seconds

    def crash(self) -> None:
        """End the process that this runs in."""
        os.kill(os.getpid(), signal.SIGKILL)

    def on_start(self) -> None:
        """Before the first call."""
        time.sleep(self._load_seconds)
        self._note("on_start")

    def on_reset(self) -> None:
        """After a lease."""
        del self._kept[:]

    def on_close(self) -> None:
        """At the end."""
        self._note("on_close")

    def _note(self, what: str) -> None:
        if self._diary:
            with open(self._diary, "a") as file:
                file.write(what + "\n")
