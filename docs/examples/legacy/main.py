"""The program: `python -m main`."""

from __future__ import annotations

import sys

from billing import Billing, make_container


def main() -> None:
    """Have an old interpreter compute a sum."""
    with make_container() as container:
        billing = Billing(container.bridge())
        there, here = billing.python(), sys.version_info[:2]
        print(billing.total([{"cents": 999, "count": 3}]), "cents")
        print("computed on an older Python:", there < here)


if __name__ == "__main__":
    main()
