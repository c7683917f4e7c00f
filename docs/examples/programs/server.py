"""The handler: programs in the manner of DSPy. It runs in worker processes, and imports nothing from `bridge`.

A program is a signature, as in "question, context -> answer", with instructions. The programs of one user are the
state of one session, so they are JSON: the bridge keeps a snapshot of them.
"""

from __future__ import annotations

from typing import Any, Protocol

from model import StandIn

Program = dict[str, Any]


class Model(Protocol):
    """What the server asks of its model."""

    def complete(self, field: str, instructions: str, inputs: dict[str, str]) -> str: ...


def fields(side: str) -> list[str]:
    """The names on one side of a signature's arrow."""
    names = [name.strip() for name in side.split(",")]
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"not a list of field names: {side.strip()!r}")
    return names


class ProgramServer:
    """Creates, executes, lists and deletes programs."""

    def __init__(self) -> None:
        self._model: Model = StandIn()  # what takes seconds for a real one happens once for each worker

    def create_program(self, name: str, signature: str, instructions: str = "", *, session: dict[str, Any]) -> Program:
        """Keep a program; a name is given once."""
        programs = session.setdefault("programs", {})
        if name in programs:
            raise ValueError(f"there is a program {name!r} already")
        inputs, arrow, outputs = signature.partition("->")
        if not arrow:
            raise ValueError(f"a signature has an arrow, as in 'question -> answer': {signature!r}")
        programs[name] = {
            "name": name,
            "inputs": fields(inputs),
            "outputs": fields(outputs),
            "instructions": instructions,
            "runs": 0,
        }
        return programs[name]  # type: ignore[no-any-return]

    def execute_program(self, name: str, inputs: dict[str, str], *, session: dict[str, Any]) -> dict[str, str]:
        """Ask the model for each output of a program."""
        program = self._find(name, session)
        if sorted(inputs) != sorted(program["inputs"]):
            raise ValueError(f"{name!r} takes {program['inputs']}, not {list(inputs)}")
        program["runs"] += 1
        ordered = {field: inputs[field] for field in program["inputs"]}
        return {field: self._model.complete(field, program["instructions"], ordered) for field in program["outputs"]}

    def list_programs(self, *, session: dict[str, Any]) -> list[Program]:
        """All of this session, in the order of their creation."""
        return list(session.get("programs", {}).values())

    def delete_program(self, name: str, *, session: dict[str, Any]) -> None:
        """Forget a program."""
        self._find(name, session)
        del session["programs"][name]

    def _find(self, name: str, session: dict[str, Any]) -> Program:
        try:
            return session["programs"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise LookupError(f"there is no program {name!r}") from None
