"""The pytest plugin, in test runs of its own: markers and fixtures.

The modules that a run inside this one would import for the first time are imported here, since pytester forgets those
that it saw come.
"""

from __future__ import annotations

import pytest

import bridge.container
import bridge.pytest_scopes
import bridge.runtime.supervisor
from bridge.adapters import bridge_mock, mock

IMPORTED = (bridge.container, bridge.pytest_scopes, bridge.runtime.supervisor, bridge_mock, mock)
OTHERS = ("-p", "no:randomly", "-p", "no:asyncio")
"""Where these are installed, a run inside this one does without: its tests have an order, and are sync."""
PLAIN = ("-p", "no:cacheprovider", *OTHERS, "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Of a run inside this one; the package was imported before it."""

FAKE = """
class Fake:
    def __init__(self):
        self.count = 0
    def counted(self):
        self.count += 1
        return self.count
    def on_reset(self):
        self.count = 0
"""


@pytest.fixture(autouse=True)
def no_test_mode(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> None:
    """The runs of these tests say themselves in which mode they are."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    pytester.makepyfile(fakes=FAKE)
    pytester.syspathinsert()


def outcomes(pytester: pytest.Pytester, source: str, *arguments: str) -> dict[str, int]:
    """Run one test file; how its tests ended."""
    pytester.makepyfile(test_it="import pytest, bridge, threading\n" + source)
    return pytester.runpytest_inprocess(*PLAIN, *arguments).parseoutcomes()


def output(pytester: pytest.Pytester, source: str, *arguments: str) -> str:
    """Run one test file; what the run printed."""
    pytester.makepyfile(test_it="import pytest, bridge, threading\n" + source)
    return pytester.runpytest_inprocess(*PLAIN, *arguments).stdout.str()


def test_a_marker_puts_its_test_into_a_scope_and_no_other(pytester: pytest.Pytester) -> None:
    """bridge_adapter chooses the adapter of one test; the next one has the default again."""
    assert outcomes(
        pytester,
        """
@pytest.mark.bridge_adapter("mock", size=3)
def test_marked(bridge_client, bridge_container):
    assert bridge_client.stats().adapter == "mock" and bridge_client.stats().size == 3
    assert bridge_container.supervisor() is not None

def test_next(bridge_client):
    assert bridge_client.stats().adapter == "python_port" and bridge.current_scope() is None
""",
    ) == {"passed": 2}


def test_the_nearest_marker_is_the_innermost_and_settings_are_merged(pytester: pytest.Pytester) -> None:
    """As with decorators: module, class, function. Fails when the order is turned round."""
    assert outcomes(
        pytester,
        """
pytestmark = pytest.mark.bridge_adapter("bridge_mock", size=3)

@pytest.mark.bridge_adapter("mock", max_overflow=2)
class TestIt:
    def test_class(self, bridge_client):
        stats = bridge_client.stats()
        assert (stats.adapter, stats.size, stats.max_overflow) == ("mock", 3, 2)

    @pytest.mark.bridge_test_mode("bridge_mock")
    def test_function(self, bridge_client):
        stats = bridge_client.stats()
        assert (stats.adapter, stats.size, stats.max_overflow) == ("bridge_mock", 3, 2)
""",
    ) == {"passed": 2}


def test_fixtures_are_set_up_inside_the_scope_of_their_test(pytester: pytest.Pytester) -> None:
    """A fixture that calls the bridge in its set-up or tear-down meets the marker's adapter, autouse or not."""
    assert outcomes(
        pytester,
        """
seen = []

@pytest.fixture(autouse=True)
def user(bridge_client):
    seen.append(bridge_client.stats().adapter)
    yield
    seen.append(bridge_client.stats().adapter)

@pytest.mark.bridge_adapter("mock")
def test_marked():
    assert seen == ["mock"]

def test_after():
    assert seen == ["mock", "mock", "python_port"]
""",
    ) == {"passed": 2}


def test_the_test_function_is_in_the_scope_whatever_thread_runs_it(pytester: pytest.Pytester) -> None:
    """anyio and thread runners call it in another context: the function itself carries the scope."""
    assert outcomes(
        pytester,
        """
@pytest.fixture
def elsewhere(request):
    test, problems = request.node.obj, []
    def run(**arguments):
        def work():
            try:
                test(**arguments)
            except BaseException as error:
                problems.append(error)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert not problems, problems
    request.node.obj = run

@pytest.mark.bridge_adapter("mock")
@pytest.mark.usefixtures("elsewhere")
def test_in_a_thread(bridge_client):
    assert threading.current_thread() is not threading.main_thread()
    assert bridge_client.stats().adapter == "mock"
""",
    ) == {"passed": 1}


def test_threads_that_a_runner_starts_around_a_test_are_in_its_scope(pytester: pytest.Pytester) -> None:
    """pytest-run-parallel replaces the function at the end of the collection: ours must be inside its threads."""
    pytester.makeconftest(
        """
import threading

def pytest_collection_finish(session):
    for item in session.items:
        item.obj = in_threads(item.obj)

def in_threads(function):
    def run(**arguments):
        errors = []
        def work():
            try:
                function(**arguments)
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not errors, errors
    return run
"""
    )
    assert outcomes(
        pytester,
        """
imported = bridge.BridgeContainer(settings={"adapter": "bridge_mock"})

@pytest.mark.bridge_adapter("mock")
def test_marked():
    assert bridge.current_scope().label == "with_adapter('mock')"
    assert imported.bridge().stats().adapter == "mock"
""",
    ) == {"passed": 1}


def test_a_scope_that_a_fixture_of_the_test_opened_is_inside_its_marker(pytester: pytest.Pytester) -> None:
    """Its settings hold in the test, with the marker's adapter. Fails when the function is put into the marker's."""
    assert outcomes(
        pytester,
        """
@pytest.fixture
def large():
    with bridge.with_settings(size=7):
        yield

@pytest.mark.bridge_adapter("mock", size=2)
def test_it(large, bridge_client):
    assert (bridge_client.stats().adapter, bridge_client.stats().size) == ("mock", 7)
""",
    ) == {"passed": 1}


def test_a_mock_is_handed_to_the_test_that_asks_for_it(pytester: pytest.Pytester) -> None:
    """bridge_mock_adapter: every bridge of the test runs on it; each test has one of its own."""
    assert outcomes(
        pytester,
        """
def test_one(bridge_mock_adapter, bridge_client):
    bridge_mock_adapter.answer("predict", {"label": "x"})
    assert bridge_client.call("predict", {"text": "hi"}) == {"label": "x"}
    assert [call.command for call in bridge_mock_adapter.calls] == ["predict"]

def test_two(bridge_mock_adapter, bridge_client):
    with pytest.raises(bridge.UnexpectedCall):
        bridge_client.call("predict")

@pytest.mark.bridge_adapter("bridge_mock", handler="fakes:Fake")
def test_innermost(bridge_mock_adapter, bridge_client):
    assert bridge_client.stats().adapter == "mock"
""",
    ) == {"passed": 3}


def test_what_is_spawned_is_joined_before_the_test_ends(pytester: pytest.Pytester) -> None:
    """bridge_scope is the innermost scope, or one of its own; a function that fails unseen fails its test."""
    assert outcomes(
        pytester,
        """
ended = []

def loop(scope, client):
    assert client.stats().adapter == "mock"
    scope.stopping.wait(10)
    ended.append(1)

@pytest.mark.bridge_test_mode("mock_adapter")
def test_spawn(bridge_scope, bridge_client):
    bridge_scope.spawn(loop, bridge_scope, bridge_client)

def test_it_ended():
    assert ended == [1]

def test_without_marker(bridge_scope):
    assert bridge_scope.spawn(lambda: 5).result(10) == 5

def test_fails_unseen(bridge_scope):
    bridge_scope.spawn(lambda: 1 / 0)
""",
    ) == {"passed": 4, "errors": 1}


def test_a_test_is_skipped_where_the_adapter_lacks_what_it_requires(pytester: pytest.Pytester) -> None:
    """The reason names adapter and capability; a name that is none is an error that lists them. Fails when what a
    launcher takes from an adapter isn't asked."""
    text = output(
        pytester,
        """
@pytest.mark.bridge_requires("processes")
@pytest.mark.bridge_adapter("mock")
def test_skipped(bridge_client): assert 0

@pytest.mark.bridge_requires("processes", "kill")
@pytest.mark.bridge_adapter("python_port", handler="math", size=1)
def test_runs(bridge_client): assert bridge_client.call("sqrt", [4]) == 2

@pytest.mark.bridge_requires("wings")
def test_misspelt(): pass

@pytest.mark.bridge_requires("kill")
@pytest.mark.bridge_adapter("python_port", handler="math", launcher="nice", prewarm=0)
def test_far(bridge_client): assert 0
""",
        "-rs",
    )

    assert "the adapter 'mock' has no processes" in text
    assert "'wings' is no capability; there are processes, kill" in text
    assert "the adapter 'python_port' has no kill" in text
    assert "1 passed, 2 skipped, 1 error" in text


def test_workers_can_be_shared_and_are_reset_between_tests(pytester: pytest.Pytester) -> None:
    """share=: the same workers, `on_reset` in between, the scope per test; closed with the module, or the session."""
    source = """
pids = set()

@pytest.mark.bridge_adapter("python_port", handler="fakes:Fake", size=1, share="{share}")
class TestShared:
    def test_one(self, bridge_client):
        assert bridge_client.call("counted") == 1
        pids.update(worker.pid for worker in bridge_client.stats().workers)

    def test_two(self, bridge_client):
        assert bridge_client.call("counted") == 1
        assert pids == {{worker.pid for worker in bridge_client.stats().workers}}

def test_without(bridge_client):
    assert bridge.current_scope() is None
"""
    pytester.makepyfile(test_other="def test_module_is_over():\n    pass")

    assert outcomes(pytester, source.format(share="module"), "test_it.py", "test_other.py") == {"passed": 4}
    assert outcomes(pytester, source.format(share="session"), "test_it.py", "test_other.py") == {"passed": 4}


def test_a_wider_fixture_can_open_a_scope_for_its_tests(pytester: pytest.Pytester) -> None:
    """A module's fixture in the `with ...: yield` form holds for all its tests, and a marker goes inside it."""
    assert outcomes(
        pytester,
        """
@pytest.fixture(scope="module", autouse=True)
def wide():
    with bridge.with_adapter("bridge_mock", handler="fakes:Fake", size=2):
        yield

def test_one(bridge_client):
    assert bridge_client.stats().adapter == "bridge_mock"

@pytest.mark.bridge_adapter("mock")
def test_two(bridge_client):
    assert (bridge_client.stats().adapter, bridge_client.stats().size) == ("mock", 2)

def test_three(bridge_client):
    assert bridge_client.call("counted") == 1
""",
    ) == {"passed": 3}
    assert bridge.current_scope() is None


def test_the_first_marked_test_of_a_module_is_inside_its_wider_scope_too(pytester: pytest.Pytester) -> None:
    """It enters its scopes before its module's fixtures are set up. Fails when `widen` doesn't enter them again."""
    assert outcomes(
        pytester,
        """
@pytest.fixture(scope="module")
def wide():
    with bridge.with_settings(size=7):
        yield

@pytest.mark.bridge_adapter("mock")
def test_first(wide, bridge_client):
    assert (bridge_client.stats().adapter, bridge_client.stats().size) == ("mock", 7)
""",
    ) == {"passed": 1}


def test_a_fixture_that_is_a_decorated_generator_is_refused(pytester: pytest.Pytester) -> None:
    """Its scope would never be current in the test. The message shows the form that works."""
    text = output(
        pytester,
        """
@pytest.fixture
@bridge.with_adapter("mock")
def lost():
    yield 1

def test_it(lost): pass
def test_again(lost): pass
""",
    )

    assert "Write `with with_adapter('mock'): yield ...` in the fixture" in text
    assert "2 errors" in text
