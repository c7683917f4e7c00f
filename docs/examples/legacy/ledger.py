"""The handler: old code that only an old Python runs. It imports nothing from `bridge`.

`Mapping` left `collections` with Python 3.10, `imp` and `distutils` left the standard library with 3.12. Nobody wants
to touch what is below, so it stays as it is, on Python 3.8 or 3.9.
"""
# mypy: ignore-errors

import imp
import sys
from collections import Mapping
from decimal import ROUND_HALF_UP, Decimal
from distutils.version import LooseVersion

TARIFF = """
RATES = {"standard": "0.19", "reduced": "0.07"}
VERSION = "2.10"
"""


class Ledger(object):
    """Computes what is owed."""

    def __init__(self):
        self._tariff = imp.new_module("tariff")  # as plugins were loaded once
        exec(TARIFF, self._tariff.__dict__)
        if LooseVersion(self._tariff.VERSION) < LooseVersion("2.9"):
            raise RuntimeError("this tariff is too old")

    def total(self, invoice):
        """What an invoice comes to, in cents."""
        if not isinstance(invoice, Mapping):
            raise TypeError("an invoice is a mapping")
        rate = Decimal(self._tariff.RATES[invoice["rate"]])
        net = sum(line["cents"] * line["count"] for line in invoice["lines"])
        return int((net * (1 + rate)).quantize(Decimal(1), rounding=ROUND_HALF_UP))

    def python(self):
        """Which Python that is."""
        return list(sys.version_info[:2])
