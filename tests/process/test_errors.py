"""What a caller gets when a call can't be made, or when the handler fails: a typed error, and a pool that works on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import Bridge, CallError, RemoteError
from tests.process.conftest import Connect

LIMIT = 4096
OVERHEAD = len('["echo",{"value":""}]')


def test_an_unknown_command_is_an_error_that_lists_those_there_are(shared_echo: Bridge) -> None:
    """The message names what could have been called. Fails when `answer` doesn't look the command up."""
    with pytest.raises(CallError, match=r"no such command; it has: add, counted, crash, echo") as caught:
        shared_echo.call("ecko")

    assert (caught.value.kind, caught.value.command, caught.value.side) == ("command", "ecko", "caller")
    assert shared_echo.call("echo", {"value": 1}) == 1


def test_a_module_that_has_no_functions_is_told_to_be_named_with_its_class(connect: Connect, tmp_path: Path) -> None:
    """Who forgot `:Class` learns it. Fails when what it has is only said to be none."""
    (tmp_path / "jobs.py").write_text("class Jobs:\n    def half(self, n):\n        return n / 2\n")

    with pytest.raises(CallError, match=r"it has: none. If it is a class that you mean, .* as in module:Class"):
        connect(str(tmp_path / "jobs.py")).call("half", [4])


@pytest.mark.parametrize("name", ["_hidden", "__init__", "__class__", "greeting", "on_reset"])
def test_what_is_private_a_hook_or_data_is_no_command(shared_echo: Bridge, name: str) -> None:
    """Only public methods can be called. Fails when `commands_of` lets underscores, attributes or hooks pass."""
    with pytest.raises(CallError, match="no such command"):
        shared_echo.call(name)


@pytest.mark.parametrize("args", [{"b": 2}, {"a": 1, "c": 3}, [], [1, 2, 3], None])
def test_wrong_arguments_are_the_callers_error(shared_echo: Bridge, args: object) -> None:
    """The message shows what the command takes. Fails when `arguments_fault` isn't asked."""
    with pytest.raises(CallError, match=r"it takes \(a, b=1\)") as caught:
        shared_echo.call("add", args)

    assert (caught.value.kind, caught.value.side) == ("arguments", "caller")


@pytest.mark.parametrize(("command", "args"), [("type_error", ["text"]), ("type_error_below", None)])
def test_a_type_error_of_the_handlers_own_is_a_remote_error(
    connect: Connect, rough: str, command: str, args: object
) -> None:
    """Whoever gets an argument wrong inside isn't the caller. Fails when every TypeError is called wrong arguments."""
    with pytest.raises(RemoteError) as caught:
        connect(f"{rough}:Rough").call(command, args)

    assert caught.value.type == "TypeError"
    assert "in type_error" in caught.value.remote_traceback


def test_a_handler_that_raises_gives_its_traceback(shared_echo: Bridge) -> None:
    """Type, message and the worker's own traceback, without our frames. Fails when `describe` keeps the whole trace."""
    with pytest.raises(RemoteError) as caught:
        shared_echo.call("fail", {"message": "too cold"})

    error = caught.value
    assert (error.type, error.message, error.command) == ("ValueError", "too cold", "fail")
    assert "raise ValueError(message)\nValueError: too cold" in str(error)
    assert "handlers.py" in error.remote_traceback
    assert "bridge/worker.py" not in error.remote_traceback
    assert not error.retryable
    assert shared_echo.stats().crashes == 0


def test_a_result_that_cannot_travel_names_the_place_and_the_cure(shared_echo: Bridge) -> None:
    """The handler's author learns where and what to do. Fails when the result isn't encoded inside a `try`."""
    pid = shared_echo.call("pid")
    with pytest.raises(CallError, match=r"result\.items\[1\]\.when is of type set.*use sorted") as caught:
        shared_echo.call("unencodable")

    assert (caught.value.kind, caught.value.side) == ("result", "handler")
    assert shared_echo.call("pid") == pid


def test_arguments_that_cannot_travel_are_refused_while_all_workers_are_busy(shared_echo: Bridge) -> None:
    """Encoding comes before the queue. Fails when the worker is checked out first: then this is a PoolTimeout."""
    with shared_echo.lease(), pytest.raises(CallError, match=r"args\.value\[2\] is of type set") as caught:
        shared_echo.call("echo", {"value": [1, 2, {3}]}, timeout=0.1)

    assert (caught.value.kind, caught.value.side) == ("arguments", "caller")


@pytest.mark.parametrize("args", [7, "text", {1, 2}, object()])
def test_arguments_are_a_mapping_a_list_a_tuple_or_none(shared_echo: Bridge, args: object) -> None:
    """Anything else is refused with the list of what may be given. Fails when a bare value is sent as it is."""
    with pytest.raises(CallError, match="args must be a mapping, a list, a tuple or None"):
        shared_echo.call("echo", args)


def test_a_request_up_to_the_limit_is_sent_and_one_byte_more_is_refused(connect: Connect, handlers: str) -> None:
    """The limit is exact, on the caller's side. Fails when `encode_call` doesn't compare."""
    b = connect(f"{handlers}:Echo", max_frame_bytes=LIMIT)

    assert len(b.call("echo", {"value": "x" * (LIMIT - OVERHEAD)})) == LIMIT - OVERHEAD
    with pytest.raises(CallError, match=f"the arguments have {LIMIT + 1} bytes, over max_frame_bytes={LIMIT}"):
        b.call("echo", {"value": "x" * (LIMIT - OVERHEAD + 1)})


def test_a_result_up_to_the_limit_arrives_and_one_byte_more_is_the_handlers_error(connect: Connect, rough: str) -> None:
    """The worker refuses to send it, and lives on. Fails when `result_frame` doesn't compare: a ProtocolError then."""
    b = connect(f"{rough}:Rough", max_frame_bytes=LIMIT)
    pid = b.call("pid")

    assert len(b.call("large", [LIMIT - 2])) == LIMIT - 2
    with pytest.raises(CallError, match=f"the result has {LIMIT + 1} bytes, over max_frame_bytes={LIMIT}") as caught:
        b.call("large", [LIMIT - 1])
    assert caught.value.side == "handler"
    assert b.call("pid") == pid


def test_an_error_larger_than_the_limit_is_cut_and_still_arrives(connect: Connect, handlers: str) -> None:
    """A long message can't break the protocol. Fails when `fault_frame` doesn't cut."""
    b = connect(f"{handlers}:Echo", max_frame_bytes=1024)

    with pytest.raises(RemoteError) as caught:
        b.call("fail", {"message": "\u2028" * 100})
    assert caught.value.type == "ValueError"
    assert b.call("echo", [1]) == 1


def test_a_large_value_makes_the_round_trip(shared_echo: Bridge) -> None:
    """Frames larger than a pipe arrive whole, both ways. Fails when `_write_rest` drops what one write left over."""
    value = ["é" * 1000, 1.5, None, True] * 500

    assert shared_echo.call("echo", {"value": value}) == value


@pytest.mark.parametrize("timeout", [1e306, 1.7e308, float("inf")])
def test_a_deadline_beyond_every_clock_is_none(shared_echo: Bridge, timeout: float) -> None:
    """Whatever a float can hold. Fails (with an OverflowError, which costs the worker) when `_timeout` multiplies
    before it bounds."""
    pid = shared_echo.call("pid")

    assert shared_echo.call("echo", {"value": "x" * 200_000}, timeout=timeout) == "x" * 200_000
    assert shared_echo.call("pid", timeout=timeout) == pid
