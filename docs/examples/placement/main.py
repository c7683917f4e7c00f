"""The program: `python -m main`. It knows nothing of where its workers run."""

from __future__ import annotations

import bridge


def main() -> None:
    """Add up a basket."""
    with bridge.connect("pricing:Pricing", size=2) as b:
        print(sum(b.map("price", ["fig", "pear", "fig"], arg="what")), "EUR")


if __name__ == "__main__":
    main()
