"""The handler, a module: stages of a pipeline over arrays. It runs in workers, and imports nothing from `bridge`.

What is at the top level is loaded once, by the zygote, and shared by all workers that it forks.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

KERNEL = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16  # stands for a model's weights
LOADED_BY = os.getpid()


def normalise(frame: Any) -> NDArray[Any]:
    """The same frame with values from 0 to 1.

    Args:
        frame: Arrives as a read-only memoryview, with its format and shape; `asarray` doesn't copy it.
    """
    pixels: NDArray[Any] = np.asarray(frame)
    normal: NDArray[Any] = (pixels - pixels.min()) / max(np.ptp(pixels), 1e-12)
    return normal


def blur(frame: Any) -> NDArray[Any]:
    """The same frame, smoothed by the kernel."""
    pixels = np.pad(np.asarray(frame), 1, mode="edge")
    blurred: NDArray[Any] = np.zeros((pixels.shape[0] - 2, pixels.shape[1] - 2))
    for (down, right), weight in np.ndenumerate(KERNEL):
        blurred += weight * pixels[down : down + blurred.shape[0], right : right + blurred.shape[1]]
    return blurred


def origin() -> list[int]:
    """Which process has imported this module, and which one answers."""
    return [LOADED_BY, os.getpid()]
