"""How a thread is begun, and what a signal makes of that."""

from __future__ import annotations

import threading

import pytest

import bridge
from bridge import MockAdapter
from bridge.runtime.threads import begin


class CutShort(threading.Thread):
    """A Ctrl-C comes while its start waits for it, and threading's own `with` finds its lock in another state."""

    def start(self) -> None:
        """It runs all the same."""
        super().start()
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("release unlocked lock")  # noqa: B904  as it is there


class Refused(threading.Thread):
    """The system has none to give."""

    def start(self) -> None:
        """Never, also while something else is being handled."""
        try:
            raise LookupError
        except LookupError:
            raise RuntimeError("can't start new thread")  # noqa: B904  as above


def test_an_interrupt_of_a_start_is_an_interrupt() -> None:
    """Not an error of threading's, nor of ours, which a program might handle and go on. Fails when the context of that
    isn't raised; and when a refusal is taken for one."""
    ran: list[int] = []
    thread = CutShort(target=ran.append, args=(1,))
    with pytest.raises(KeyboardInterrupt):
        begin(thread)
    thread.join(10)
    assert ran == [1]

    with pytest.raises(RuntimeError, match="new thread"):
        begin(Refused())


class Half(threading.Thread):
    """As one whose start was cut short before it was known to have begun: it runs, and can't be joined."""

    def start(self) -> None:
        """Without taking note."""
        super().start()
        self._started = threading.Event()
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [CutShort, Half])
def test_a_map_that_is_interrupted_while_a_thread_starts_ends_with_that(
    kind: type[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one is served. Fails when a thread is joined that isn't known to have begun, or when the map takes
    that error for a refusal."""
    with bridge.connect("shop:Prices", adapter=MockAdapter({"answer": 42}), size=1) as b:
        with monkeypatch.context() as patched:
            patched.setattr(threading, "Thread", kind)
            with pytest.raises(KeyboardInterrupt):
                list(b.map("answer", [None] * 3))
        assert list(b.map("answer", [None] * 3)) == [42] * 3
