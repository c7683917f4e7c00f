"""What tests of a bridge use: fakes, answers in turn, cassettes, and the suite that every adapter has to pass.

Rules: public, and what our own tests use; pytest isn't imported. Apart from the adapters because nothing here is for
production.
"""

from bridge.answers import in_turn
from bridge.testing.adapter_contract import AdapterContract
from bridge.testing.fakes import CRASH, HANG, FakeClock, Gate, Outcome, ScriptedAdapter, ScriptedChannel
from bridge.verifying import verify

__all__ = [
    "CRASH",
    "HANG",
    "AdapterContract",
    "FakeClock",
    "Gate",
    "Outcome",
    "ScriptedAdapter",
    "ScriptedChannel",
    "in_turn",
    "verify",
]
