"""What the pytest plugin refuses and reports: leaks, threads without a scope, wrong modes; and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.facade.test_plugin import no_test_mode, outcomes, output

__all__ = ["no_test_mode"]


# -- What a test leaves behind -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (
            "kept.append(bridge.connect('fakes:Fake', adapter='bridge_mock')); kept[0].call('counted')",
            "the bridge fakes",
        ),
        ("kept.append(bridge.with_adapter('mock')); kept[0].__enter__()", "the scope with_adapter('mock')"),
        ("imported.bridge().call('counted')", "the bridge fakes"),
        ("kept.append(bridge.connect('math', adapter='python_port', size=1)); kept[0].call('sqrt', [4])", "workers "),
    ],
)
def test_a_test_that_leaves_something_open_fails_by_name(pytester: pytest.Pytester, body: str, what: str) -> None:
    """A runtime, a scope, what an import-time container started: that test alone, and the next one begins clean."""
    text = output(
        pytester,
        f"""
kept = []
imported = bridge.BridgeContainer(settings={{"worker": {{"handler": "fakes:Fake"}}, "adapter": "bridge_mock"}})

def test_leaves():
    {body}

def test_next(bridge_client):
    assert bridge.current_scope() is None
""",
    )

    assert "test_leaves left open: " in text
    assert what in text
    assert "2 passed, 1 error" in text


def test_the_leak_guard_can_be_switched_off_and_spares_what_fixtures_close(pytester: pytest.Pytester) -> None:
    """What a wider fixture built is its own to close, also when a test was the first to use it."""
    source = """
@pytest.fixture(scope="module")
def container():
    made = bridge.BridgeContainer(settings={"worker": {"handler": "fakes:Fake"}, "adapter": "bridge_mock"})
    yield made
    made.shutdown_resources()

def test_first(container):
    assert container.bridge().call("counted") >= 1
"""
    left = "\nkept = []\ndef test_leaves():\n    kept.append(bridge.with_adapter('mock').__enter__())\n"

    assert outcomes(pytester, source) == {"passed": 1}
    assert outcomes(pytester, left, "-o", "bridge_leaks=false") == {"passed": 1}


# -- Threads without a scope -------------------------------------------------------------------------------

STRICT = """
imported = bridge.BridgeContainer(settings={"adapter": "mock"})

@pytest.fixture(scope="module")
def wide():
    return bridge.BridgeContainer(settings={"adapter": "mock"})

@pytest.fixture
def own():
    return bridge.BridgeContainer(settings={"adapter": "mock"})

def in_a_thread(container):
    found = []
    def work():
        try:
            found.append(container.adapter().name)
        except bridge.BridgeError as error:
            found.append(error)
    thread = threading.Thread(target=work, name="plain")
    thread.start()
    thread.join()
    return found[0]

def test_imported(): assert in_a_thread(imported) == "mock"
def test_wide(wide): assert in_a_thread(wide) == "mock"
def test_own(own): assert in_a_thread(own) == "mock"
def test_own_in_scope(own):
    with bridge.with_adapter("mock"):
        assert in_a_thread(own) == "mock"
def test_built_in_scope():
    with bridge.with_adapter("bridge_mock"):
        assert in_a_thread(bridge.BridgeContainer(settings={"adapter": "mock"})) == "bridge_mock"
"""


def test_threads_without_a_scope_are_refused_where_no_test_can_be_known(pytester: pytest.Pytester) -> None:
    """A container of import time or a wider fixture always; one of the test's own while a scope is open in it."""
    text = output(pytester, STRICT)

    assert "2 passed" in text
    assert "3 failed" in text
    assert "UnscopedAccessError" in text
    assert "thread 'plain' called" in text


def test_the_strict_rule_can_be_switched_off(pytester: pytest.Pytester) -> None:
    """bridge_strict = false: the default answers."""
    assert outcomes(pytester, STRICT, "-o", "bridge_strict=false") == {"passed": 5}


# -- TEST_MODE ---------------------------------------------------------------------------------------------


def test_the_header_says_which_mode_is_in_force(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; nothing without it; somebody else's value is shown and stops nobody."""
    source = "def test_it(): pass"

    assert "bridge: TEST_MODE" not in output(pytester, source)
    monkeypatch.setenv("TEST_MODE", "mock_adapter")
    assert "bridge: TEST_MODE=mock_adapter → mock" in output(pytester, source)
    monkeypatch.setenv("TEST_MODE", "unit")
    assert "not 'unit'" in output(pytester, source)


def test_the_option_sets_the_mode_before_conftests_are_loaded(pytester: pytest.Pytester) -> None:
    """A container that a conftest builds reads it; a value that is none is a usage error that lists the three."""
    pytester.makeconftest("import bridge\ncontainer = bridge.BridgeContainer()\nMODE = container.settings().test_mode")
    pytester.makepyfile(test_it="import conftest\ndef test_it():\n    assert conftest.MODE.value == 'bridge_mock'")

    good = pytester.runpytest_subprocess("--bridge-test-mode=bridge_mock")
    bad = pytester.runpytest_subprocess("--bridge-test-mode=mock")

    good.assert_outcomes(passed=1)
    assert bad.ret == pytest.ExitCode.USAGE_ERROR
    assert "mock_adapter, bridge_mock, full_integration" in bad.stderr.str()


def test_in_mock_mode_a_test_that_asks_for_the_real_thing_gets_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a supervisor of its own, which runs; the next test is on the mock again."""
    monkeypatch.setenv("TEST_MODE", "mock_adapter")

    assert outcomes(
        pytester,
        """
@pytest.mark.bridge_adapter("python_port", handler="math", size=1)
def test_real(bridge_client, bridge_container):
    assert bridge_client.call("sqrt", [4]) == 2
    assert bridge_container.supervisor().poller is not None

def test_next(bridge_client):
    assert bridge_client.stats().adapter == "mock"
""",
    ) == {"passed": 2}


def test_the_plugin_imports_nothing_expensive() -> None:
    """It is loaded in every test run of whoever has the package installed."""
    code = "import sys, bridge.pytest_plugin; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"pydantic", "pydantic_settings", "dependency_injector"}.isdisjoint(loaded)
