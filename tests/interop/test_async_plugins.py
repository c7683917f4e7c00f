"""The pytest plugin beside pytest-asyncio and anyio, in test runs of its own.

One file of tests is run under each of them, with a loop or runner for each test and with one for the module. The
latter is where contexts are lost: anyio's runner keeps one task, and its context, for all tests of a module.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

SOURCE = """
import asyncio
import pytest
import bridge
{head}
ended = []

@pytest.fixture
def sync_fixture(bridge_client):
    before = bridge_client.stats().adapter
    yield before
    assert bridge_client.stats().adapter == before

{fixture}
async def awaited(bridge_client):
    return bridge_client.stats().adapter

{fixture}
async def async_fixture(bridge_client):
    before = bridge_client.stats().adapter
    yield before
    assert bridge_client.stats().adapter == before

{fixture}
async def opened():
    async with bridge.with_settings(size=7):
        yield

{wide}
async def wide():
    async with bridge.with_settings(size=9):
        yield

@pytest.mark.bridge_adapter("mock", size=3)
async def test_marked(sync_fixture, awaited, async_fixture, bridge_client):
    assert (sync_fixture, awaited, async_fixture) == ("mock", "mock", "mock")
    assert (bridge_client.stats().adapter, bridge_client.stats().size) == ("mock", 3)
    assert await asyncio.to_thread(lambda: bridge_client.stats().adapter) == "mock"
    assert await asyncio.create_task(adapter_of(bridge_client)) == "mock"

async def adapter_of(client):
    await asyncio.sleep(0)
    return client.stats().adapter

async def test_next(sync_fixture, awaited, async_fixture, bridge_client):
    assert (sync_fixture, awaited, async_fixture) == ("python_port", "python_port", "python_port")
    assert bridge.current_scope() is None

@pytest.mark.bridge_adapter("mock")
@pytest.mark.parametrize("number", [1, 2])
async def test_parametrized(number, bridge_mock_adapter, bridge_client):
    bridge_mock_adapter.answer("number", number)
    assert bridge_client.call("number") == number

@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.bridge_adapter(name, handler="math")) for name in ("mock", "bridge_mock")
])
async def test_each_its_marker(name, bridge_client):
    assert bridge_client.stats().adapter == name

async def test_both_at_once(bridge_client):
    async def inside(name):
        async with bridge.with_adapter(name):
            await asyncio.sleep(0)
            return bridge_client.stats().adapter
    assert await asyncio.gather(inside("mock"), inside("bridge_mock")) == ["mock", "bridge_mock"]

async def forever(client):
    try:
        assert client.stats().adapter == "mock"
        await asyncio.Event().wait()
    finally:
        ended.append(client.stats().adapter)

@pytest.mark.bridge_adapter("mock")
async def test_spawned(bridge_scope, bridge_client):
    assert await asyncio.wrap_future(bridge_scope.spawn(adapter_of, bridge_client)) == "mock"
    async with bridge.with_settings() as scope:
        scope.spawn(forever, bridge_client)
        await asyncio.sleep(0)
    assert ended == ["mock"]

@bridge.with_adapter("mock")
async def test_decorated(bridge_client):
    assert bridge_client.stats().adapter == "mock"

async def test_in_an_async_fixtures_scope(opened, bridge_client):
    assert (bridge_client.stats().size, bridge_client.stats().adapter) == (7, "python_port")

@pytest.mark.bridge_adapter("mock", size=3)
async def test_in_a_marker_and_a_fixtures_scope(opened, bridge_client):
    assert (bridge_client.stats().size, bridge_client.stats().adapter) == (7, "mock")

async def test_bare():
    bridge.with_adapter("mock").__enter__()

async def test_after_bare(awaited):
    assert (bridge.current_scope(), awaited) == (None, "python_port")

class TestMethods:
    {fixture}
    async def itself(self, bridge_client):
        self.adapter = bridge_client.stats().adapter
        yield self

    @pytest.mark.bridge_adapter("mock")
    async def test_method(self, itself):
        assert itself is self and self.adapter == "mock"

async def test_in_a_wide_fixture(wide, awaited, bridge_client):
    assert bridge_client.stats().size == 9

@pytest.mark.bridge_adapter("mock")
async def test_in_a_wide_fixture_and_a_marker(wide, awaited, bridge_client):
    assert (bridge_client.stats().size, bridge_client.stats().adapter, awaited) == (9, "mock", "mock")

def test_synchronous(wide, bridge_client):
    assert bridge_client.stats().size == 9
"""
PASSED = 17


@dataclass(frozen=True)
class Style:
    """How a file says that its tests are async."""

    name: str
    head: str
    fixture: str
    wide: str
    options: tuple[str, ...] = ()


ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"
"""
FOR_THE_MODULE = """
@pytest.fixture(scope="module", autouse=True)
async def runner_of_the_module():
    yield
"""

STRICT = "import pytest_asyncio\npytestmark = pytest.mark.asyncio"
STYLES = (
    Style(
        "asyncio-strict",
        STRICT,
        "@pytest_asyncio.fixture",
        "@pytest_asyncio.fixture(scope='module', loop_scope='module')",
        ("--asyncio-mode=strict", "-W", "ignore:The test <Function test_synchronous>"),
    ),
    Style(
        "asyncio-auto",
        "import pytest_asyncio",
        "@pytest.fixture",
        "@pytest_asyncio.fixture(scope='module', loop_scope='module')",
        ("--asyncio-mode=auto",),
    ),
    Style(
        "asyncio-module-loop",
        "",
        "@pytest.fixture",
        "@pytest.fixture(scope='module')",
        (
            "--asyncio-mode=auto",
            *("-o", "asyncio_default_fixture_loop_scope=module"),
            *("-o", "asyncio_default_test_loop_scope=module"),
        ),
    ),
    Style("anyio", ANYIO, "@pytest.fixture", "@pytest.fixture(scope='module')"),
    Style("anyio-module-runner", ANYIO + FOR_THE_MODULE, "@pytest.fixture", "@pytest.fixture(scope='module')"),
)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_an_async_test_is_in_its_own_scope_and_in_no_other(
    style: Style, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markers, fixtures of both kinds, what is spawned; and a scope that was left open is not the next test's."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    pytester.makepyfile(test_it=SOURCE.format(head=style.head, fixture=style.fixture, wide=style.wide))
    options = ("-p", "no:randomly", "-o", "asyncio_default_fixture_loop_scope=function", "-W", "error")
    done = pytester.runpytest_subprocess(*options, *style.options)

    done.assert_outcomes(passed=PASSED, errors=1)
    done.stdout.fnmatch_lines(["test_it.py::test_bare left open: the scope with_adapter('mock')*"])
