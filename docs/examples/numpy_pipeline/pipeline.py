"""What the application sees: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge import Bridge, BridgeContainer, BridgeSettings

DEFAULTS = {
    "worker": {
        "handler": "stages",
        "fake": "fake",
        "start_method": "zygote",  # one process imports numpy, the workers are forked from it
        "env": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # as many workers as cores, a thread in each
    },
    "pool": {"size": 2},
}


def make_container() -> BridgeContainer:
    """The defaults of the program, overlaid by BRIDGE_* and TEST_MODE."""
    return BridgeContainer(settings=BridgeSettings.load(DEFAULTS))


class Pipeline:
    """Normalises frames, then blurs them."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def clean(self, frame: NDArray[Any]) -> NDArray[Any]:
        """One frame. The result is a read-only view of memory that its worker wrote: `.copy()` it to change it."""
        normal = self._bridge.call("normalise", [np.ascontiguousarray(frame)], timeout=30)
        # What one worker gave goes to another one as it is; nothing is made an array in between.
        cleaned: NDArray[Any] = np.asarray(self._bridge.call("blur", [normal], timeout=30))
        return cleaned

    def clean_all(self, frames: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Many frames, on all workers at once, in their order; a bounded number is taken ahead."""
        normal = self._bridge.map("normalise", map(np.ascontiguousarray, frames), arg="frame")
        return (np.asarray(frame) for frame in self._bridge.map("blur", normal, arg="frame"))
