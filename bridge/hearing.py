"""A conversation that somebody listens to.

Rules: what is told is what was sent and what came, once each and in that order; what is told never changes it. Apart
from core/protocol.py because hardly any conversation is listened to, and those that aren't pay nothing for it.
"""

from __future__ import annotations

from math import inf

from bridge.contract import Ear
from bridge.core.protocol import Body, Connection, Frame
from bridge.wire import CALL


class HeardConnection(Connection):
    """One conversation, as Connection, and an ear that hears its frames.

    Args:
        limit: Bytes that the body of one received frame may have.
    """

    __slots__ = ("_ear",)

    def __init__(self, limit: int, ear: Ear) -> None:
        super().__init__(limit)
        self._ear = ear

    def send(self, kind: int, body: bytes = b"", flags: int = 0, seconds: float = inf) -> bytes:
        """The bytes to write for one frame."""
        frame = super().send(kind, body, flags, seconds)
        self._ear.said(kind, flags, body)
        return frame

    def ask(self, body: bytes, seconds: float) -> bytes:
        """The same."""
        return self.send(CALL, body, 0, seconds)

    def result(self, data: bytes) -> None:
        """None: every frame goes the way that is heard."""

    def _finish(self, kind: int, body: Body) -> Frame:
        frame = super()._finish(kind, body)
        self._ear.heard(kind, self.flags, body)
        return frame
