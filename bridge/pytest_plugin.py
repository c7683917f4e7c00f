"""The pytest plugin: markers and fixtures that put a test into a scope, and a guard against what it leaves behind.

Rules: loaded in every test run of whoever has the package installed, so it imports neither pydantic nor
dependency_injector until a test uses us, every name of it carries our prefix, and nothing is asked of tests that don't
use us. A scope is entered before a test's fixtures are set up, and the test function itself is wrapped in it, since the
context in which a fixture ran can be lost (anyio, threads). Apart from pytest_leaks.py, which looks at what is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import BridgeError, ConfigurationError
from bridge.frames import CURRENT, Carried, Frame, Kind, bind
from bridge.pytest_anyio import adopted, runs
from bridge.pytest_leaks import Guard

if TYPE_CHECKING:
    from bridge.client import Bridge
    from bridge.container import BridgeContainer
    from bridge.pytest_scopes import TestScopes
    from bridge.runtime import Runtime
    from bridge.scope import Scope

MARKERS = (
    "bridge_adapter(adapter, *, share=None, **options): run the test in with_adapter(adapter, **options); with "
    "share='module' or 'session' the workers live that long",
    "bridge_test_mode(mode): run the test in with_test_mode(mode)",
    "bridge_requires(*capabilities): skip the test where the adapter in force lacks one of them",
)
SCOPING = ("bridge_adapter", "bridge_test_mode")
FIXTURES = ("bridge_mock_adapter", "bridge_scope")

RUN = pytest.StashKey["Run"]()
SCOPES = pytest.StashKey["TestScopes"]()
HOME = pytest.StashKey["Frame | None"]()
"""Of a test that is set up: what is current then, its scopes and those of its fixtures included."""
WRAPPED = pytest.StashKey[bool]()


class Run:
    """One test run: its root frame, what wider fixtures have opened in it, and what tests share."""

    def __init__(self, config: pytest.Config) -> None:
        self.strict = bool(config.getini("bridge_strict"))
        self.root = self.wide = Frame(Kind.ROOT, "the test run", strict=self.strict)
        self.guard = Guard(self.root) if config.getini("bridge_leaks") else None
        self.shared: dict[tuple[object, object], Runtime] = {}
        self.item: pytest.Item | None = None
        self.frames: list[Frame] = []
        self._widened: dict[pytest.FixtureDef[Any], Frame] = {}

    def frame(self) -> Frame:
        """A frame for the test that runs, inside what wider fixtures have opened."""
        assert self.item is not None
        self.frames.append(Frame(Kind.TEST, self.item.nodeid, self.wide, strict=self.strict))
        return self.frames[-1]

    def widen(self, fixture: pytest.FixtureDef[Any], inner: Frame) -> None:
        """A wider fixture has left scopes open: they hold for the test that runs now and all that follow."""
        scopes = None if self.item is None else self.item.stash.get(SCOPES, None)
        if scopes is not None:
            scopes.leave()  # it entered its own before its wider fixtures were set up: they belong inside these
        self._widened[fixture] = self.wide
        self.wide = inner
        fixture.addfinalizer(lambda: CURRENT.set(inner))  # runs first: the scopes must be current to be left
        if self.item is not None:
            CURRENT.set(self.frame())
        if scopes is not None:
            scopes.enter()

    def narrow(self, fixture: pytest.FixtureDef[Any]) -> None:
        """That fixture was torn down, with the last test that used it."""
        if fixture in self._widened:
            self.wide = self._widened.pop(fixture)
            CURRENT.set(self.wide if self.item is None else self.frame())

    def close_shared(self, place: object = None) -> None:
        """Close what tests of a module, or of the whole session, shared."""
        for key in [key for key in self.shared if place is None or key[0] is place]:
            self.shared.pop(key).close()


# -- The run -----------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """--bridge-test-mode, --bridge-cassettes, bridge_strict, bridge_leaks."""
    group = parser.getgroup("scoped-bridge")
    group.addoption(
        "--bridge-test-mode",
        metavar="MODE",
        help="set TEST_MODE: mock_adapter, bridge_mock or full_integration",
    )
    group.addoption(
        "--bridge-cassettes",
        metavar="MODE",
        choices=("replay", "record", "verify"),
        help='what tests marked bridge_adapter("recording", ...) do in this run: replay, record or verify',
    )
    parser.addini(
        "bridge_strict",
        "refuse threads that are in no scope where tests are kept apart by scopes (default: true)",
        type="bool",
        default=True,
    )
    parser.addini(
        "bridge_leaks", "fail a test that leaves a bridge or a scope open (default: true)", type="bool", default=True
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before conftests are loaded: containers that they build read TEST_MODE, and xdist's workers inherit it."""
    mode = early_config.known_args_namespace.bridge_test_mode
    if mode is not None:
        from bridge.settings import ask_for_test_mode

        try:
            early_config.add_cleanup(ask_for_test_mode(mode))
        except ConfigurationError as error:
            raise pytest.UsageError(f"--bridge-test-mode: {error}") from None


def pytest_configure(config: pytest.Config) -> None:
    """From here on what is built belongs to the run, until a test begins."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[RUN] = run = Run(config)
    token = CURRENT.set(run.root)
    config.add_cleanup(lambda: CURRENT.reset(token))


def pytest_report_header() -> str | None:
    """Which TEST_MODE is in force, and what it means."""
    from bridge.settings import TestMode, mode_in_force

    try:
        mode = mode_in_force("BRIDGE_")
    except ConfigurationError as error:
        return f"bridge: {error}"  # perhaps it is meant for somebody else: a bridge that reads it says no
    if mode is None:
        return None
    meaning = {TestMode.MOCK_ADAPTER: "mock", TestMode.BRIDGE_MOCK: "bridge_mock"}
    return f"bridge: TEST_MODE={mode.value} → {meaning.get(mode, 'the configured adapter')}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close what tests shared for the session."""
    session.config.stash[RUN].close_shared()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Wrap the tests that ask for a scope before others do: whatever thread these start runs the function in it."""
    for item in items:
        if isinstance(item, pytest.Function) and _asks(item):
            _wrap(item)


# -- Each test ---------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One frame per test: what is built in it is its own."""
    run = item.config.stash[RUN]
    run.item = item
    token = CURRENT.set(run.frame())
    try:
        return (yield)
    finally:
        CURRENT.reset(token)
        run.item = None
        run.frames = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Enter the scopes that the test asks for; its fixtures are set up in them, by pytest's own hook after this one."""
    # No wrapper: what a wrapper raises before its yield keeps the hooks of pytest's own logging from being called.
    run = item.config.stash[RUN]
    if run.guard is not None:
        run.guard.begin()
    if isinstance(item, pytest.Function) and _asks(item):
        _enter(item, run)


@pytest.hookimpl(trylast=True, specname="pytest_runtest_setup")
def pytest_runtest_setup_done(item: pytest.Item) -> None:
    """Everything is set up."""
    _leave_with(item)
    item.stash[HOME] = CURRENT.get()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Have anyio run the test in its own frame."""
    if runs(pyfuncitem.obj, pyfuncitem.funcargs):
        _wrap(pyfuncitem)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Tear down the test, then look what is left."""
    run = item.config.stash[RUN]
    try:
        yield
    finally:
        scopes = item.stash.get(SCOPES, None)
        if scopes is not None:
            scopes.leave()  # if it wasn't even set up
        module = item.getparent(pytest.Module)
        if nextitem is None or nextitem.getparent(pytest.Module) is not module:
            run.close_shared(module)
        if run.guard is not None:
            run.guard.end(item.nodeid, run.frames)


def _enter(item: pytest.Function, run: Run) -> None:
    from bridge.pytest_scopes import TestScopes

    item.stash[SCOPES] = scopes = TestScopes(item, run)
    try:
        scopes.enter()
    except (BridgeError, TypeError) as error:
        raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from error
    _wrap(item)  # if a marker was added since its collection


def _wrap(item: pytest.Function) -> None:
    """Put the function too into the test's frame, not only this context: anyio and threads run it in another one."""
    if WRAPPED not in item.stash:
        item.stash[WRAPPED] = True
        item.obj = bind(item.obj, lambda: Carried(_frame_in(item)))


def _frame_in(item: pytest.Item) -> Frame | None:
    """What a test function runs in: what async fixtures have opened where it runs, else what is current outside."""
    current, home = CURRENT.get(), item.stash.get(HOME, None)
    return current if home is None or (current is not None and current.is_in(home)) else home


def _leave_with(item: pytest.Item) -> None:
    """Leave the scopes after the test's own fixtures were torn down, and before wider ones are."""
    scopes = item.stash.get(SCOPES, None)
    if scopes is not None and not scopes.leaves_with_its_test:
        scopes.leaves_with_its_test = True
        item.addfinalizer(scopes.leave)


def _asks(item: pytest.Function) -> bool:
    """Whether a test uses a marker or fixture of ours that takes a scope."""
    wanted = any(item.get_closest_marker(name) for name in (*SCOPING, "bridge_requires"))
    return wanted or not {*FIXTURES}.isdisjoint(item.fixturenames)


# -- Fixtures of others ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Refuse what can't work; set up wider fixtures outside the test, since what they build isn't its own."""
    run = request.config.stash[RUN]
    if fixturedef.scope == "function":
        _leave_with(request.node)
        with adopted(fixturedef, request.fixturenames, CURRENT.get()):
            result = yield
        _refuse_generator(fixturedef)
        return result
    frame = Frame(Kind.ROOT, f"the fixture {fixturedef.argname}", run.wide, strict=run.strict)
    token = CURRENT.set(frame)
    left: Frame | None = None
    try:
        with adopted(fixturedef, request.fixturenames, frame) as steps:
            result = yield
        left = steps.left
        _refuse_generator(fixturedef)
        return result
    finally:
        left = left or CURRENT.get()
        CURRENT.reset(token)
        if run.guard is not None:
            run.guard.allow_what_is_open()
        if left is not frame and left is not None:
            run.widen(fixturedef, left)


def _refuse_generator(fixturedef: pytest.FixtureDef[Any]) -> None:
    # After its set-up: pytest doesn't finalise a fixture whose hook raised before that.
    function = fixturedef.func
    label = getattr(function, "__bridge_scope__", None)
    if label is not None and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise pytest.fail.Exception(
            f"the fixture {fixturedef.argname!r} is a generator decorated with {label}: that would be current in the "
            f"fixture's own steps and never in the test. Write `with {label}: yield ...` in the fixture, or put a "
            "marker on the test",
            pytrace=False,
        )


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """What a wider fixture had opened is closed."""
    request.config.stash[RUN].narrow(fixturedef)


# -- Fixtures of ours --------------------------------------------------------------------------------------


@pytest.fixture
def bridge_container() -> Iterator[BridgeContainer]:
    """A container of the test's own, with the environment's settings; shut down with it.

    Override it in a conftest to have `bridge_client` and the others use your application's.
    """
    from bridge.container import BridgeContainer

    container: BridgeContainer = BridgeContainer()
    yield container
    container.shutdown_resources()


@pytest.fixture
def bridge_client(bridge_container: BridgeContainer) -> Bridge:
    """The Bridge of `bridge_container`: it obeys the test's markers."""
    return bridge_container.bridge()


@pytest.fixture
def bridge_mock_adapter(request: pytest.FixtureRequest) -> Any:
    """A MockAdapter on which every bridge of the test runs; say what it answers with `.answer(command, value)`."""
    scopes: TestScopes = request.node.stash[SCOPES]
    return scopes.mock


@pytest.fixture
def bridge_scope(request: pytest.FixtureRequest) -> Scope:
    """The test's scope, the innermost of its markers: what you `spawn` in it is joined before the test ends."""
    scopes: TestScopes = request.node.stash[SCOPES]
    return scopes.innermost
