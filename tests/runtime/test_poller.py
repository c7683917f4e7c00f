"""The poller: whose callback runs for what the kernel reported."""

from __future__ import annotations

import os

from bridge.runtime.poller import Poller


def test_an_event_of_a_closed_descriptor_never_reaches_the_next_owner_of_its_number() -> None:
    """Two descriptors are ready in one look; the first callback closes both, and the second one's number goes to a
    new file. Fails when a callback is looked up by number alone: a dead worker's last line on stderr was taken for
    the death of a living one.
    """
    poller = Poller()
    pipes = [os.pipe(), os.pipe()]
    called: list[str] = []
    fresh: list[int] = []

    def first(mine: int, other: int) -> None:
        called.append("first")
        for fd in (mine, other):
            poller.unwatch(fd)
        os.close(other)
        fresh.extend(os.pipe())
        if fresh[0] != other:
            os.dup2(fresh[0], other)
        poller.watch(other, lambda: called.append("the new owner"))

    for here, there in (pipes, pipes[::-1]):
        poller.watch(here[0], lambda mine=here[0], other=there[0]: first(mine, other))  # type: ignore[misc]
        os.write(here[1], b"x")
    poller.poll(5)

    assert called == ["first"]
    poller.close()
    for fd in {*pipes[0], *pipes[1], *fresh}:
        os.close(fd)
