"""Fakes that only our own tests need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from bridge.runtime.claims import Claim
from bridge.testing import Gate


class Haunted(MutableMapping[str, str]):
    """An environment of which another thread unset a variable, between the list of the names and the first look."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self.seen = False

    def __iter__(self) -> Iterator[str]:
        yield from [*self._variables, *([] if self.seen else ["GONE"])]

    def __getitem__(self, name: str) -> str:
        self.seen = self.seen or name == "GONE"
        return self._variables[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._variables[name] = value

    def __delitem__(self, name: str) -> None:
        del self._variables[name]

    def __len__(self) -> int:
        return len(self._variables)


class AnnouncedClaim(Claim):
    """A claim that arrives at a gate when it is queued, so that a test can wait for that and needn't nap."""

    def __init__(self, queued: Gate) -> None:
        super().__init__()
        self._queued: Gate | None = queued

    def sleep(self, seconds: float) -> bool:
        """The owner is in the queue, and about to sleep."""
        queued, self._queued = self._queued, None
        if queued is not None:
            queued.then(lambda: None)
        return super().sleep(seconds)
