"""What is longer than a pipe likes, between real processes: views, their life, and workers that aren't honest."""

from __future__ import annotations

import os
from array import array
from typing import Any, Final

import pytest

from bridge import Bridge, ProtocolError, WorkerCrashed
from bridge.testing import contract_handler
from tests.process.conftest import Connect
from tests.process.rogue import Rogue

HANDLER: Final = f"{contract_handler.__file__}:ContractHandler"
LONG: Final = 1_000_000


def block(number: int) -> array[int]:
    """Something long, unlike the others."""
    return array("q", range(number, number + LONG // 8))


def is_view(value: memoryview) -> bool:
    """Whether it lies in shared memory."""
    return type(value.obj).__name__ == "mmap"


@pytest.fixture(params=["spawn", "zygote"])
def b(connect: Connect, request: pytest.FixtureRequest) -> Bridge:
    """A bridge with one worker, which knows by now that its results are long."""
    made = connect(HANDLER, size=1, start_method=request.param)
    made.call("echo", [block(0)])
    return made


def test_long_results_are_views_and_stay_what_they_are(b: Bridge) -> None:
    """Whatever comes later, also when their worker is dead and the bridge closed. Fails when the range of one that is
    in use is used again, or when all go through the pipe."""
    results = [b.call("echo", [block(number)]) for number in range(12)]
    text = b.call("echo", ["x" * LONG])
    results[3:6] = [b.call("echo", [block(number)]) for number in range(3, 6)]
    b.recycle()
    results.append(b.call("echo", [block(12)]))
    b.close()

    assert is_view(results[0])
    assert [result.tolist() for result in results] == [block(number).tolist() for number in range(13)]
    assert text == "x" * LONG


def test_a_handler_keeps_its_arguments(b: Bridge) -> None:
    """Fails when they are views of memory that the next call writes into."""
    for number in range(3):
        b.call("keep", [block(number)])

    assert [each.tolist() for each in b.call("kept")] == [block(number).tolist() for number in range(3)]


def test_what_follows_a_call_goes_through_the_pipe(b: Bridge) -> None:
    """A stream of long items, with a long result in between. Fails when an item is put where a result was granted."""
    items = [bytes(each) for each in b.stream("repeat", [block(1), 4])]
    b.expose("double", lambda data: bytes(data) * 2)

    assert items == [block(1).tobytes()] * 4
    assert b.call("ask", ["double", [block(2)]])["value"] == block(2).tobytes() * 2
    assert b.call("echo", [block(3)]).tolist() == block(3).tolist()


def test_a_worker_that_is_killed_takes_nothing_with_it(b: Bridge) -> None:
    """Views of its results live on, its successor has memory of its own, and no descriptor is left. Fails when it is
    closed with a view, or not with the worker."""
    first = b.call("echo", [block(1)])
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        with pytest.raises(WorkerCrashed):
            b.call("crash")
        assert b.call("echo", [block(number)]).tolist() == block(number).tolist()

    assert first.tolist() == block(1).tolist()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_forked_child_sees_results_as_they_were(b: Bridge) -> None:
    """Though its parent has dropped them. Fails when a fork isn't told to the arena."""
    result: Any = b.call("echo", [block(1)])
    assert is_view(result)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(go[1])
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0 if result.tolist() == block(1).tolist() else 1)
    del result
    os.close(go[0])
    os.read(ready[0], 1)
    for number in range(2, 6):
        b.call("echo", [block(number)])
    for fd in (go[1], *ready):
        os.close(fd)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


GRANTED: Final = """
from bridge.wire import PLACE
get_ready()
id = read()
os.write(reply, wire.pack(wire.RESULT, id, b'"' + b'x' * 200_000 + b'"', 1))
data = os.read(request, 65536)
offset, length = PLACE.unpack_from(data, 16)
id = wire.HEADER.unpack_from(data, 32)[4]
arena = int(sys.argv[7])
def answer(*place):
    os.write(reply, wire.HEADER.pack(wire.RESULT, 1, 8, 16, id) + PLACE.pack(*place))
"""


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("answer(offset + 4096, 5)", "where it was granted"),
        ("answer(offset, length + 1)", "where it was granted"),
        ("answer(2**63, 2**63)", "where it was granted"),
        ("os.pwrite(arena, b'{1: 2}' * 50000, offset); answer(offset, 200_000)", "a body that isn't JSON"),
        (
            "os.pwrite(arena, os.urandom(length), offset); os.pwrite(arena, b'\\xff', offset); answer(offset, length)",
            "isn't JSON",
        ),
        ("answer(offset, length)", "a body that isn't JSON"),
    ],
)
def test_a_worker_that_names_what_is_not_there_is_replaced(
    connect: Connect, handlers: str, rogue: Rogue, program: str, says: str
) -> None:
    """Another place, and rubbish in the right one. Fails when a place isn't compared, or its worker is lent again."""
    b = connect(f"{handlers}:Echo", python=rogue.once(GRANTED + program + "; signal.pause()"), cancel_grace=0.2)
    assert b.call("echo", [1]) == "x" * 200_000

    with pytest.raises(ProtocolError, match=says):
        b.call("echo", [1])
    assert b.call("echo", [2]) == 2


@pytest.mark.parametrize("how", ["os.ftruncate(arena, 0)", "os.posix_fallocate(arena, 0, 10)"])
def test_a_worker_can_not_spoil_the_memory(connect: Connect, handlers: str, rogue: Rogue, how: str) -> None:
    """It can't be cut off under its caller. Fails, by the death of this very process, without the seal."""
    program = (
        GRANTED
        + f"""
try:
    {how}
except OSError:
    pass
os.pwrite(arena, b'"' + b'y' * 200_000 + b'"', offset)
answer(offset, 200_002)
signal.pause()
"""
    )
    b = connect(f"{handlers}:Echo", python=rogue.once(program), cancel_grace=0.2)
    b.call("echo", [1])

    assert b.call("echo", [1]) == "y" * 200_000
