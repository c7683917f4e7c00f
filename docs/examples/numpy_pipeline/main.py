"""The program: `python -m main`."""

from __future__ import annotations

import numpy as np
from pipeline import Pipeline, make_container


def main() -> None:
    """Clean some noise."""
    frames = np.random.default_rng(1).normal(size=(6, 512, 512))
    with make_container() as container:
        cleaned = list(Pipeline(container.bridge()).clean_all(frames))
    print(len(cleaned), "frames of", cleaned[0].shape)
    print("own their memory:", any(frame.flags.owndata for frame in cleaned))
    print("noise is less:", np.std(cleaned) < np.std([frame / np.ptp(frame) for frame in frames]))


if __name__ == "__main__":
    main()
