"""New code that calls old code: on the fake in most modes, and on an old interpreter where one is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from billing import Billing

from bridge import RemoteError


def test_an_invoice_comes_to_something(billing: Billing) -> None:
    """True of the fake and of the old code, whatever the rate."""
    assert billing.total([]) == 0
    assert billing.total([{"cents": 100, "count": 2}, {"cents": 50, "count": 1}]) >= 250


@pytest.mark.bridge_adapter("python_port")
class TestForReal:
    """On the old interpreter, also when the run is in TEST_MODE=mock_adapter."""

    def test_the_old_code_computes(self, billing: Billing) -> None:
        """Its rates, and how it rounds."""
        assert billing.total([{"cents": 999, "count": 3}]) == 3566
        assert billing.total([{"cents": 999, "count": 3}], rate="reduced") == 3207

    def test_it_runs_on_an_older_python(self, billing: Billing) -> None:
        """Than the one that calls it."""
        assert (3, 8) <= billing.python() < sys.version_info[:2]

    def test_its_errors_come_back(self, billing: Billing) -> None:
        """By type and message, with the old Python's traceback; and it goes on."""
        with pytest.raises(RemoteError) as caught:
            billing.total([], rate="luxury")

        assert (caught.value.type, caught.value.message) == ("KeyError", "'luxury'")
        assert 'self._tariff.RATES[invoice["rate"]]' in caught.value.remote_traceback
        assert billing.total([]) == 0


def test_the_old_code_does_not_run_here() -> None:
    """Which is why there is a bridge."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", "import ledger"], capture_output=True, text=True)

    assert done.returncode == 1
    assert "Error: " in done.stderr
