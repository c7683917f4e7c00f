"""Calls that killed workers, and are not to kill more.

Rules: off unless a threshold is set; bounded, the oldest go first; a call is known by its encoded bytes, whose digest
is kept and not the bytes. Apart from the pool, since it knows nothing of workers. (The idea is snakepit's.)
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

REMEMBERED: Final = 1024
"""Calls; each takes some 200 bytes."""


class PoisonList:
    """Counts the workers that died in a call. Its owner's lock guards it.

    Args:
        threshold: Deaths after which a call is refused; None never is.
    """

    def __init__(self, threshold: int | None) -> None:
        self.threshold = threshold
        self._deaths: OrderedDict[bytes, tuple[int, str]] = OrderedDict()

    def died(self, body: bytes, how: str) -> None:
        """A worker died in the call with these bytes.

        Args:
            how: Said to whoever makes the call again.
        """
        if self.threshold is None:
            return
        digest = _digest(body)
        count, _ = self._deaths.pop(digest, (0, ""))
        self._deaths[digest] = count + 1, how
        if len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)

    def verdict(self, body: bytes) -> tuple[int, str] | None:
        """Why the call must not be made again: how many workers died in it, and how the last did. None: it may."""
        if self.threshold is None or not self._deaths:
            return None
        found = self._deaths.get(_digest(body))
        return found if found is not None and found[0] >= self.threshold else None


def _digest(body: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for piece in getattr(body, "pieces", (body,)):
        digest.update(piece)
    return digest.digest()
