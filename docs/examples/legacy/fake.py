"""What stands for the handler where there is no old Python: the same commands, without its rules."""

from __future__ import annotations

import sys
from typing import Any


class FakeLedger:
    """Knows no taxes."""

    def total(self, invoice: dict[str, Any]) -> int:
        """The net sum."""
        return sum(line["cents"] * line["count"] for line in invoice["lines"])

    def python(self) -> list[int]:
        """The caller's own."""
        return list(sys.version_info[:2])
