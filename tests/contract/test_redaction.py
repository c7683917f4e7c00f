"""What must not get into a cassette, and how a call is found all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.cassette import UNFINISHED
from bridge.errors import ConfigurationError
from bridge.redaction import REDACTED, redaction
from tests.contract.test_recording import opened

SECRETS = {"user": "ada", "password": "hunter2"}


def test_what_stands_under_a_name_is_nowhere(tmp_path: Path) -> None:
    """In args, results, keys, messages, tracebacks; in no file, at no time. Fails when one place is forgotten."""
    path = tmp_path / "c.jsonl"
    with opened(path, "record", redact=["password", "token"]) as b:
        b.call("login", SECRETS)
        with pytest.raises(bridge.RemoteError, match="hunter2"):
            b.call("login", {"user": "nobody", "password": "hunter2"})
        b.call("same", [{"deep": [{"password": {"old": "0ld", "new": ["n3w", 4711]}}, "n3w 0ld 4711", 4711, "t"]}])
        during = Path(f"{path}{UNFINISHED}").read_text()
    text = path.read_text()

    for secret in ("hunter2", "t0ken", "0ld", "n3w", "4711"):
        assert secret not in during + text
    first = json.loads(text.splitlines()[1])
    assert first["args"] == {"password": REDACTED, "user": "ada"}
    assert first["result"] == {"token": REDACTED, "url": f"https://ada:{REDACTED}@host/?t={REDACTED}", REDACTED: 1}
    with opened(path, redact=["password", "token"]) as b:
        assert b.call("login", SECRETS)["token"] == REDACTED
        with pytest.raises(bridge.RemoteError, match=r"nobody has not the password \[redacted\]"):
            b.call("login", {"user": "nobody", "password": "another one"})


def test_what_the_caller_answers_is_redacted_and_compared_so(tmp_path: Path) -> None:
    """A question's answer as well. Fails when a secret gets in by a callback, or makes it another answer."""
    path = tmp_path / "c.jsonl"
    for mode in ("record", "replay"):
        with opened(path, mode, redact="token") as b:
            b.expose("key", lambda number: {"number": number, "token": "t0ken"})
            b.call("ask", ["key"])

    assert "t0ken" not in path.read_text()


def test_a_function_sees_the_whole_exchange(tmp_path: Path) -> None:
    """And returns what may be seen of it. A call is found by what it leaves of command and args. Fails when it is
    given what the caller has, or only a part."""
    path = tmp_path / "c.jsonl"

    def redact(exchange: dict[str, Any]) -> dict[str, Any]:
        exchange["args"] = ["somebody"]
        if "result" in exchange:
            exchange["result"] = exchange["result"].replace("Ada", "somebody")
        return exchange

    sent = ["Ada"]
    with opened(path, "record", redact=redact) as b:
        assert b.call("greet", sent) == "Hello, Ada"
    with opened(path, redact=redact) as b:
        assert b.call("greet", ["Bo"]) == "Hello, somebody"

    assert sent == ["Ada"]
    assert "Ada" not in path.read_text()


def test_what_says_how_to_read_is_left(tmp_path: Path) -> None:
    """Even if a secret is as short as that: kinds, marks and places. Fails when such a cassette can't be read."""
    path = tmp_path / "c.jsonl"
    value = {"pin": "a", "one": 1, "b": memoryview(bytes(8)).cast("i"), "c": b"a\xff", "letter": "an apple"}
    for mode in ("record", "replay"):
        with opened(path, mode, redact=["pin", "one", "password"]) as b:
            found = b.call("same", [value])
            with pytest.raises(bridge.RemoteError, match="PermissionError"):
                b.call("login", {"user": "nobody", "password": "raised"})

    assert (found["pin"], found["one"], found["letter"]) == (REDACTED, REDACTED, f"{REDACTED}n {REDACTED}pple")
    assert found["b"].shape == (2,)


def test_names_are_looked_for_in_what_a_call_is_found_by_alone() -> None:
    """A secret of the result doesn't change the args: they are known before. Fails when a replayed call isn't found
    because of what it was answered."""
    redact = redaction(["token"])
    whole = redact({"command": "a", "args": ["t0ken"], "result": {"token": "t0ken"}})

    assert whole["args"] == redact({"command": "a", "args": ["t0ken"]})["args"] == ["t0ken"]
    assert whole["result"] == {"token": REDACTED}


def test_a_function_can_change_what_it_gets() -> None:
    """At any depth: it has a copy. Fails when it changes what is compared or recorded besides."""
    given = {"command": "a", "args": [{"x": 1}]}

    def redact(exchange: dict[str, Any]) -> dict[str, Any]:
        exchange["args"][0].clear()
        return exchange

    assert redaction(redact)(given)["args"] == [{}]
    assert given["args"] == [{"x": 1}]


@pytest.mark.parametrize("returned", [None, {}, {"args": None}, [1]])
def test_a_function_that_returns_no_exchange_is_told(returned: Any) -> None:
    """As the mistake that everybody makes once: to forget the return. Fails when nothing is recorded instead."""
    with pytest.raises(ConfigurationError, match="it returns the dict that it got"):
        redaction(lambda _: returned)({"command": "a", "args": None})
