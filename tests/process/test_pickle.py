"""`worker.codec` = "pickle": what JSON can't carry, original exceptions, and functions in place of commands."""

from __future__ import annotations

import asyncio
import multiprocessing.spawn
import pickle
import threading
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge, CallError, CapabilityError, RemoteError, pickling
from bridge.buffers import Rope
from tests.house import interpreters
from tests.process import pickle_handlers
from tests.process.conftest import Connect
from tests.process.pickle_handlers import Block, Odd

HANDLER: Final = "tests.process.pickle_handlers:Shapes"


@pytest.fixture(params=["python_port", "bridge_mock"])
def shapes(request: pytest.FixtureRequest, connect: Connect) -> Bridge:
    """A bridge whose calls are pickled."""
    return connect(HANDLER, codec="pickle", adapter=request.param)


def test_values_are_what_they_were(shapes: Bridge) -> None:
    """Sets go in and come out. Fails when either end takes JSON for it."""
    assert shapes.call("union", [{1}, {2}]) == {1, 2}
    assert shapes.call("union", {"left": {1}, "right": set()}, timeout=20) == {1}
    assert list(shapes.stream("many", [3])) == [0, 1, 2]


def test_a_task_sends_what_a_thread_does(shapes: Bridge) -> None:
    """Values, and functions in place of commands, which errors name. Fails when the way of tasks pickles neither, or
    hands the function on as it is."""
    function: Any = int
    assert asyncio.run(shapes.aio.call("union", [{1}, {2}])) == {1, 2}
    for call in (shapes.call, lambda *args: asyncio.run(shapes.aio.call(*args))):
        with pytest.raises(RemoteError) as caught:
            call(function, [["no number"], {}])
        assert caught.value.command == "int"


@pytest.mark.parametrize("size", [5, 40_000, 3_000_000])
def test_buffers_of_protocol_5_travel_beside_the_pickle(shapes: Bridge, size: int) -> None:
    """Whoever gets one may change it. Fails when long ones go into the pickle, or arrive read-only."""
    block = shapes.call("turned", [Block(bytearray(size))])

    assert (len(block.data), block.data[0]) == (size, 7)
    block.data[1] = 8
    assert isinstance(pickling.encode(Block(bytearray(size))), Rope) is (size > 32768)


def test_the_original_exception_is_told(shapes: Bridge) -> None:
    """Fails when only its text is sent, or when one is sent that can't be made again at the other end."""
    with pytest.raises(RemoteError, match=r"raised .*Odd") as caught:
        shapes.call("fail", ["odd"])
    with pytest.raises(RemoteError, match=r"raised .*Shut: one") as shut:
        shapes.call("fail", ["shut"])

    assert isinstance(caught.value.original, Odd)
    assert caught.value.original.args == ("odd", 7)
    assert "in fail" in caught.value.remote_traceback
    assert isinstance(pickle.loads(pickle.dumps(caught.value)).original, Odd)
    assert shut.value.original is None


def test_a_function_takes_the_place_of_a_command(shapes: Bridge) -> None:
    """With its positional and named arguments; a TypeError of its own is no fault of the call."""
    direct: Any = pickle_handlers.add
    assert shapes.call(direct, [(1,), {"right": 2}]) == 3
    with pytest.raises(RemoteError, match="'add' raised TypeError") as caught:
        shapes.call(direct, [(), {}])
    assert isinstance(caught.value.original, TypeError)


@pytest.mark.parametrize("value", [threading.Lock(), lambda: None])
def test_what_cannot_be_pickled_is_refused_before_it_is_sent(shapes: Bridge, value: object) -> None:
    """It names the reason. Fails when the error of pickle itself gets out."""
    with pytest.raises(CallError, match="args: it can't be pickled") as caught:
        shapes.call("union", [value])
    assert (caught.value.kind, caught.value.side) == ("arguments", "caller")


def test_a_result_that_cannot_be_pickled_is_the_handlers(shapes: Bridge) -> None:
    """The worker lives on. Fails when the error ends it."""
    with pytest.raises(CallError, match="the result: it can't be pickled") as caught:
        shapes.call("lock")
    assert (caught.value.kind, caught.value.side) == ("result", "handler")
    assert shapes.call("union", [{1}, set()]) == {1}


def test_commands_and_their_faults_are_as_under_json(shapes: Bridge) -> None:
    """An unknown command and wrong arguments are the caller's."""
    with pytest.raises(CallError, match="no such command") as unknown:
        shapes.call("onion")
    with pytest.raises(CallError, match="right") as wrong:
        shapes.call("union", [{1}])
    assert (unknown.value.kind, wrong.value.kind) == ("command", "arguments")


def test_a_worker_loads_pickle_only_when_it_is_sent_one(connect: Connect) -> None:
    """Fails when a worker pays for a codec that it doesn't use."""
    assert "_scoped_bridge_pickling" not in connect(HANDLER).call("loaded")
    assert "_scoped_bridge_pickling" in connect(HANDLER, codec="pickle").call("loaded")


@pytest.mark.parametrize("minor", interpreters.EACH)
def test_every_other_python_speaks_it(connect: Connect, tmp_path: Path, minor: int) -> None:
    """Nothing is installed there, and the package isn't found there either."""
    handler = tmp_path / "shapes.py"
    handler.write_text("class Shapes:\n    def union(self, left, right):\n        return left | right\n")
    b = connect(f"{handler}:Shapes", codec="pickle", python=interpreters.need(minor))
    assert b.call("union", [{1}, {2}]) == {1, 2}
    with pytest.raises(RemoteError) as caught:
        b.call("union", [1, set()])
    assert isinstance(caught.value.original, TypeError)
    with b.executor() as executor:
        assert list(executor.map(abs, [-1, -2], chunksize=2)) == [1, 2]


def test_without_the_setting_no_function_is_sent(connect: Connect) -> None:
    """Under JSON a command is a text, and an exception its text."""
    b = connect(HANDLER)
    with pytest.raises(CallError, match="a command is a str, not function"):
        b.call(pickle_handlers.add, [(1,), {}])  # type: ignore[call-overload]
    with pytest.raises(RemoteError) as caught:
        b.call("fail", ["odd"])
    assert caught.value.original is None


def test_a_mock_says_that_it_cannot() -> None:
    """What would be unpickled there isn't what it answers. Fails when it gets bytes that it can't read."""
    with pytest.raises(CapabilityError, match="mock can't carry pickles"):
        bridge.connect(HANDLER, adapter="mock", codec="pickle")


def test_a_large_value_fits_or_is_refused(connect: Connect) -> None:
    """The limit is for pickles too."""
    b = connect(HANDLER, codec="pickle", max_frame_bytes=2048)
    with pytest.raises(CallError, match="over max_frame_bytes=2048"):
        b.call("union", [set(range(5000)), set()])
    with pytest.raises(CallError, match=r"the result has .* over max_frame_bytes"):
        b.call(set, [(range(5000),), {}])  # type: ignore[call-overload]


def test_a_program_is_never_imported_into_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a thread of it is the worker. Fails, by what other threads see meanwhile, when it is begun at all."""
    begun: list[str] = []
    for name in ("_fixup_main_from_name", "_fixup_main_from_path"):
        monkeypatch.setattr(multiprocessing.spawn, name, begun.append)
    pickling.take_up(pickling.program())
    assert begun == []
    pickling.take_up({"path": "another.py"})
    assert begun == ["another.py"]
