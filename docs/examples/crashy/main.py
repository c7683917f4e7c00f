"""The program: `python -m main`. One picture of eight kills whoever decodes it."""

from __future__ import annotations

import bridge


def main() -> None:
    """Decode all that can be decoded."""
    pictures = [b"picture %d" % number for number in range(8)]
    pictures[3] = b"BAD header"
    with bridge.connect("codec:Codec", size=2, limits={"core": False}, poison_threshold=2) as b:
        results = b.map("decode", pictures, arg="picture", idempotent=True, return_exceptions=True)
        for number, result in enumerate(results):
            if isinstance(result, bridge.PoisonCall):
                print(f"picture {number}: given up, {result.deaths} workers died of it: {result.how}")
            else:
                print(f"picture {number}: {result} pixels")


if __name__ == "__main__":
    main()
