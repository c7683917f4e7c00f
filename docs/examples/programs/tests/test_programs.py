"""The programs of users, in whatever mode the run is in; and what only worker processes can show."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from service import Program, Programs

from bridge import Bridge, BridgeContainer, RemoteError, with_adapter

TEXT = "Paris is the capital of France. Rome is the capital of Italy."


def test_a_program_lives_from_its_creation_to_its_deletion(bridge_client: Bridge) -> None:
    """All four commands; true of the fake and of the real one."""
    ada = Programs(bridge_client, "ada")
    made = ada.create("facts", "question, context -> answer", "Be short.")
    outputs = ada.execute("facts", question="Which?", context=TEXT)

    assert made == Program("facts", ["question", "context"], ["answer"], "Be short.", runs=0)
    assert list(outputs) == ["answer"]
    assert [(program.name, program.runs) for program in ada.list()] == [("facts", 1)]
    ada.delete("facts")
    assert ada.list() == []


def test_users_have_programs_of_their_own(bridge_client: Bridge) -> None:
    """The same name in two sessions; one that is closed takes only its own along."""
    ada, bo = Programs(bridge_client, "ada"), Programs(bridge_client, "bo")
    ada.create("facts", "question -> answer")
    bo.create("facts", "text -> title, summary")
    bo.execute("facts", text=TEXT)

    assert [(program.outputs, program.runs) for program in ada.list()] == [(["answer"], 0)]
    ada.close()
    assert Programs(bridge_client, "ada").list() == []
    assert [(program.outputs, program.runs) for program in bo.list()] == [(["title", "summary"], 1)]


@pytest.mark.parametrize(
    ("name", "signature", "message"),
    [
        ("facts", "question -> answer", "there is a program 'facts' already"),
        ("other", "question", "a signature has an arrow, as in 'question -> answer': 'question'"),
        ("other", "a question -> answer", "not a list of field names: 'a question'"),
    ],
)
def test_what_is_no_program_is_refused(bridge_client: Bridge, name: str, signature: str, message: str) -> None:
    """The reason comes back as it was raised, and nothing has changed."""
    ada = Programs(bridge_client, "ada")
    ada.create("facts", "question -> answer")
    with pytest.raises(RemoteError) as caught:
        ada.create(name, signature)

    assert (caught.value.type, caught.value.message) == ("ValueError", message)
    assert [program.name for program in ada.list()] == ["facts"]


def test_what_cannot_be_run_is_refused(bridge_client: Bridge) -> None:
    """A program that isn't there, and inputs that it doesn't take: no run is counted."""
    ada = Programs(bridge_client, "ada")
    ada.create("facts", "question -> answer")
    with pytest.raises(RemoteError, match="there is no program 'fact'"):
        ada.execute("fact", question="Which?")
    with pytest.raises(RemoteError, match=r"takes \['question'\], not \['context'\]"):
        ada.execute("facts", context=TEXT)

    assert [program.runs for program in ada.list()] == [0]


@pytest.mark.bridge_adapter("python_port", size=2)
def test_the_model_answers_from_the_context(bridge_client: Bridge) -> None:
    """The real handler, whatever mode the run is in."""
    ada = Programs(bridge_client, "ada")
    ada.create("facts", "question, context -> answer")

    assert ada.execute("facts", context=TEXT, question="Italy?") == {"answer": "Rome is the capital of Italy."}


@pytest.mark.bridge_adapter("python_port", size=2)
def test_programs_outlive_their_workers(bridge_client: Bridge) -> None:
    """All workers are killed between two calls. Without `durable` the programs would be gone with them."""
    with bridge_client as b:  # all are ready: a worker that is killed while it starts is another matter
        ada = Programs(b, "ada")
        ada.create("facts", "question -> answer")
        ada.execute("facts", question="Which?")
        for worker in b.stats().workers:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)

        ada.execute("facts", question="Which?")
        assert [program.runs for program in ada.list()] == [2]


def test_a_worker_that_dies_in_a_call_counts_no_run_twice(bridge_container: BridgeContainer, tmp_path: Path) -> None:
    """It had counted the run. The call is made again, from the state before it; without `idempotent` it would raise."""
    fuse = tmp_path / "fuse"
    dying = {"handler": "mortal:Mortal", "options": {"fuse": str(fuse)}}
    with with_adapter("python_port", container=bridge_container, worker=dying, size=1):
        b = bridge_container.bridge()
        ada = Programs(b, "ada")
        ada.create("facts", "question -> answer")
        fuse.touch()
        ada.execute("facts", question="Which?")

        assert not fuse.exists()
        assert b.stats().repeats == 1
        assert [program.runs for program in ada.list()] == [1]
