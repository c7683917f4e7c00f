"""What the application sees: the programs of one user."""

from __future__ import annotations

from dataclasses import dataclass

from bridge import Bridge, BridgeContainer, BridgeSettings

DEFAULTS = {
    "worker": {"handler": "server:ProgramServer", "fake": "fake:FakeProgramServer"},
    "pool": {"size": 2},
}


def make_container() -> BridgeContainer:
    """The defaults of the program, overlaid by BRIDGE_* and TEST_MODE."""
    return BridgeContainer(settings=BridgeSettings.load(DEFAULTS))


@dataclass(frozen=True)
class Program:
    """As it was when it was asked for."""

    name: str
    inputs: list[str]
    outputs: list[str]
    instructions: str
    runs: int


class Programs:
    """One user's programs. Nothing is kept here: they are the state of a durable session.

    `idempotent` is safe for all of it: a call whose worker died is made again from the state before it, so a program
    can't be there already, and no run counts twice.
    """

    def __init__(self, bridge: Bridge, user: str) -> None:
        self._session = bridge.session(f"programs of {user}", durable=True)

    def create(self, name: str, signature: str, instructions: str = "") -> Program:
        """Make a program of a signature such as "question, context -> answer".

        Raises:
            bridge.RemoteError: Its `type` is ValueError: the name is taken, or that is no signature. Nothing changed.
        """
        args = {"name": name, "signature": signature, "instructions": instructions}
        return self._session.call("create_program", args, idempotent=True, returns=Program)

    def execute(self, name: str, **inputs: str) -> dict[str, str]:
        """Run a program.

        Raises:
            bridge.RemoteError: Its `type` is LookupError or ValueError: no such program, or other inputs than it takes.
        """
        args = {"name": name, "inputs": inputs}
        return self._session.call("execute_program", args, timeout=30, idempotent=True, returns=dict[str, str])

    def list(self) -> list[Program]:
        """All programs, in the order of their creation."""
        return self._session.call("list_programs", idempotent=True, returns=list[Program])

    def delete(self, name: str) -> None:
        """Forget a program.

        Raises:
            bridge.RemoteError: Its `type` is LookupError: there is no such program.
        """
        self._session.call("delete_program", {"name": name}, idempotent=True)

    def close(self) -> None:
        """Forget all of them."""
        self._session.close()
