"""What stands for the handler in tests: the same commands, no computing. Results have the shapes of the real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def normalise(frame: Any) -> NDArray[Any]:
    """Something between 0 and 1."""
    made: NDArray[Any] = np.full(np.shape(frame), 0.5)
    return made


def blur(frame: Any) -> NDArray[Any]:
    """The frame as it is."""
    made: NDArray[Any] = np.asarray(frame, float)
    return made
