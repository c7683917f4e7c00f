"""What the application does with labels."""

from __future__ import annotations

from bridge import Bridge


class Inbox:
    """Counts what customers say. One instance serves the whole application: each call obeys its caller's scope."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def label(self, text: str) -> str:
        """The label of one text."""
        return str(self._bridge.call("label", {"text": text}, timeout=10)["label"])

    def count_complaints(self, texts: list[str]) -> int:
        """How many of these are complaints; they are labelled by all workers at once."""
        return sum(answer["label"] == "complaint" for answer in self._bridge.map("label", texts, arg="text"))
