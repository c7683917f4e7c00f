"""A cassette beside the real handler: what differs is told, at the end of a scope, of a bridge, or by `verify`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.testing import verify
from tests.contract.recorded import Changed, Shop
from tests.contract.test_recording import opened, record

HANDLER = "tests.contract.recorded:Shop"
CHANGED = "tests.contract.recorded:Changed"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a cassette with a call of each kind."""
    path = tmp_path / "c.jsonl"
    record(path, use)
    return path


def use(b: bridge.Bridge) -> None:
    """A call of each kind."""
    b.expose("page", lambda number: f"page {number}")
    b.call("greet", {"name": "Ada"})
    list(b.stream("count", [2]))
    with b.stream("count", [9]) as stream:
        next(stream)
    with pytest.raises(bridge.RemoteError):
        b.call("double", [3])
    b.call("work", [2], on_progress=lambda _: None)
    list(b.stream("pages", [2]))
    for value in (1, 2):
        b.session("s").call("remember", [value])
    assert b.call("turn") == 1
    assert b.call("ask", ["nothing"])["kind"] == "LookupError"


DRIFTS = (
    'line 2: greet {"name": "Ada"}\n    recorded: result "Hello, Ada"\n    now:      result "Hi, Ada"',
    "line 3: stream count [2]\n    recorded: items [0, 1], result null\n    now:      items [0, 1, 2], result null",
    'line 5: double [3]\n    recorded: error {"kind": "raised", "type": "ValueError", "message": "3 is odd"}\n'
    '    now:      error {"kind": "raised", "type": "TypeError", "message": "3 can\'t be doubled"}',
)
"""Between one handler and the other. Of the stream that its caller left nothing is known but what he took."""


def test_a_handler_that_answers_the_same_is_verified(path: Path) -> None:
    """Every call of the cassette is made, in its order, and nothing is written. Fails when one kind of call is made
    otherwise than it was."""
    before = path.read_text()

    assert verify(path, HANDLER, of=bridge.BridgeMockAdapter(Shop())) == 10
    assert path.read_text() == before


def test_what_differs_is_told_with_its_line(path: Path) -> None:
    """What it was and what it is, for each call. Fails when a reader has to run it again to see."""
    with pytest.raises(bridge.CassetteDrift) as caught:
        verify(path, CHANGED, of="bridge_mock")

    assert caught.value.drifts == DRIFTS
    assert str(caught.value).startswith(f"3 of 10 calls aren't what {path} says:\n\nline 2: greet")
    assert 'mode="record"' in str(caught.value)


def test_processes_are_verified(path: Path) -> None:
    """The real handler, by default. Fails when the end of a supervisor's thread keeps what differs to itself."""
    with pytest.raises(bridge.CassetteDrift) as caught:
        verify(path, CHANGED)

    assert caught.value.drifts == DRIFTS


def test_the_end_of_a_bridge_tells(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, by `close` and by `with`; the log has it too. Fails when a test goes on as if nothing had happened."""
    for _ in range(2):
        b = opened(path, "verify", of=lambda: bridge.BridgeMockAdapter(Changed))
        b.call("greet", {"name": "Ada"})
        with pytest.raises(bridge.CassetteDrift, match="1 of 1 calls"):
            b.close()
        b.close()
    with pytest.raises(AssertionError), opened(path, "verify", of=lambda: bridge.BridgeMockAdapter(Changed)) as b:
        b.call("greet", {"name": "Ada"})

    assert "line 2: greet" in caplog.text


def test_the_end_of_an_asyncio_bridge_tells(path: Path) -> None:
    """The same. Fails when the thread that closes it swallows the error."""

    async def run() -> None:
        async with opened(path, "verify", of=lambda: bridge.BridgeMockAdapter(Changed)).aio as ab:
            await ab.call("greet", {"name": "Ada"})

    with pytest.raises(bridge.CassetteDrift):
        asyncio.run(run())


def scoped(path: Path) -> bridge.Scope:
    """A scope that verifies the changed handler."""
    return bridge.with_adapter(
        "recording", cassette=path, mode="verify", of=lambda: bridge.BridgeMockAdapter(Changed), size=1
    )


def call(name: str) -> Any:
    """By a bridge that is built in whatever scope there is."""
    return bridge.BridgeContainer(settings={"worker": {"handler": HANDLER}}).bridge().call("greet", {"name": name})


def test_the_end_of_a_scope_tells(path: Path) -> None:
    """As `with`, as `async with` and as a decorator. Fails when a scope closes what it owns without listening."""

    async def run() -> None:
        async with scoped(path):
            assert call("Ada") == "Hi, Ada"

    with pytest.raises(bridge.CassetteDrift), scoped(path):
        call("Ada")
    with pytest.raises(bridge.CassetteDrift):
        asyncio.run(run())
    with pytest.raises(bridge.CassetteDrift):
        scoped(path)(call)("Ada")


def test_an_error_of_the_block_is_the_one_that_is_seen(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What differs stands in the log then. Fails when it hides why the test failed."""

    def fail_in_bridge() -> None:
        with opened(path, "verify", of=lambda: bridge.BridgeMockAdapter(Changed)) as b:
            b.call("greet", {"name": "Ada"})
            raise LookupError("the test's own")

    def fail_in_scope() -> None:
        with scoped(path):
            call("Ada")
            raise LookupError("the test's own")

    async def fail_in_task() -> None:
        async with opened(path, "verify", of=lambda: bridge.BridgeMockAdapter(Changed)).aio as ab:
            await ab.call("greet", {"name": "Ada"})
            raise LookupError("the test's own")

    for fail in (fail_in_bridge, fail_in_scope, lambda: asyncio.run(fail_in_task())):
        caplog.clear()
        with pytest.raises(LookupError, match="the test's own"):
            fail()
        assert "line 2: greet" in caplog.text


def test_what_is_not_recorded_and_what_is_not_answered_are_drifts(path: Path) -> None:
    """A call that the cassette doesn't know, and one that ends without an answer now. Fails when they are passed
    over."""

    b = opened(path, "verify", of=_mute)
    b.call("turn")
    b.call("same", [1])
    with pytest.raises(bridge.WorkerCrashed):
        b.call("greet", {"name": "Ada"})
    with pytest.raises(bridge.CassetteDrift) as caught:
        b.close()

    assert caught.value.drifts == (
        "not recorded: same [1]\n    now:      result 1",
        'line 2: greet {"name": "Ada"}\n    recorded: result "Hello, Ada"\n    now:      no answer',
    )


def _mute() -> bridge.MockAdapter:
    mock = bridge.MockAdapter(Shop)
    mock.crash("greet")
    return mock


def test_a_call_that_reaches_no_handler_is_an_error(path: Path) -> None:
    """Nothing was compared: an engine has no sessions, for instance. Fails when that counts as the same answer."""
    with ThreadPoolExecutor(1) as engine, pytest.raises(bridge.CapabilityError):
        verify(path, HANDLER, of=lambda: bridge.ExecutorAdapter(engine))


def test_a_long_answer_is_told_by_what_differs(tmp_path: Path) -> None:
    """As a diff, with little around it. Fails when a reader has to find one word in two pages."""
    path = tmp_path / "c.jsonl"
    value = {f"key {number}": number for number in range(50)}
    record(path, lambda b: b.call("same", [1]), of=lambda: bridge.MockAdapter({"same": value}))
    with pytest.raises(bridge.CassetteDrift) as caught:
        verify(path, HANDLER, of=lambda: bridge.MockAdapter({"same": {**value, "key 30": "new"}}))

    (text,) = caught.value.drifts
    assert len(text.splitlines()) < 12
    assert '-    "key 30": 30,' in text
    assert '+    "key 30": "new",' in text


def test_calls_with_redacted_arguments_are_not_made(tmp_path: Path) -> None:
    """Nobody knows what they were; the others are, and are found. Fails when a handler is asked for a redacted user."""
    path = tmp_path / "c.jsonl"
    with opened(path, "record", redact="password") as b:
        b.call("login", {"user": "ada", "password": "hunter2"})
        b.call("greet", ["Ada"])

    assert verify(path, HANDLER, of="bridge_mock", redact="password") == 1


def test_a_marked_test_fails_by_what_differs(path: Path, pytester: pytest.Pytester) -> None:
    """In its teardown, with the text; what replays passes, without a worker. Fails when a marker's scope ends
    unheard."""
    pytester.makepyfile(
        f"""
        import pytest
        from bridge import BridgeMockAdapter
        from tests.contract.recorded import Changed

        @pytest.mark.bridge_adapter("recording", cassette={str(path)!r})
        def test_replay(bridge_client):
            assert bridge_client.call("greet", {{"name": "Ada"}}) == "Hello, Ada"

        @pytest.mark.bridge_adapter(
            "recording", cassette={str(path)!r}, mode="verify", of=lambda: BridgeMockAdapter(Changed)
        )
        def test_verify(bridge_client):
            assert bridge_client.call("greet", {{"name": "Ada"}}) == "Hi, Ada"
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*CassetteDrift: 1 of 1 calls*", '*line 2: greet {"name": "Ada"}*'])


def test_an_option_says_what_the_marked_tests_of_a_run_do(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """Whatever their markers say, and of the recording ones alone. Fails when a marker has to be edited to record."""
    path = tmp_path / "c.jsonl"
    pytester.makepyfile(
        f"""
        import pytest
        from bridge import BridgeMockAdapter
        from tests.contract.recorded import Changed, Shop

        @pytest.mark.bridge_adapter("recording", cassette={str(path)!r}, of=lambda: BridgeMockAdapter(Shop))
        def test_marked(bridge_client):
            assert bridge_client.call("greet", {{"name": "Ada"}}) == "Hello, Ada"

        @pytest.mark.bridge_adapter("mock")
        def test_mocked(bridge_client):
            assert bridge_client.stats().adapter == "mock"
        """
    )

    def run(*option: str) -> dict[str, int]:
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *option).parseoutcomes()

    assert run("--bridge-cassettes=replay") == {"failed": 1, "passed": 1}
    assert run("--bridge-cassettes=record") == {"passed": 2}
    assert run() == run("--bridge-cassettes=verify") == {"passed": 2}
    path.write_text(path.read_text().replace("Hello", "Hi"))
    assert run("--bridge-cassettes=verify") == {"errors": 1, "passed": 2}
