"""The pytest plugin beside pytest-xdist, pytest-run-parallel and pytest-randomly, in test runs of its own."""

from __future__ import annotations

import pytest

MIXED = """
import threading
import unittest

import pytest

import bridge

imported = bridge.BridgeContainer(settings={"adapter": "bridge_mock", "worker": {"handler": "math"}})

def scope():
    found = bridge.current_scope()
    return found and found.label

@pytest.mark.bridge_adapter("mock")
def test_marked(bridge_client):
    assert (scope(), bridge_client.stats().adapter) == ("with_adapter('mock')", "mock")
    assert imported.bridge().stats().adapter == "mock"

@pytest.mark.bridge_test_mode("bridge_mock")
@pytest.mark.parametrize("number", range(4))
def test_mode(number, bridge_client):
    assert (scope(), bridge_client.stats().adapter) == ("with_test_mode('bridge_mock')", "bridge_mock")

@pytest.mark.parametrize("number", range(4))
def test_own_scope(number):
    with bridge.with_adapter(bridge.MockAdapter({"who": [number, threading.get_ident()]})):
        assert imported.bridge().call("who") == [number, threading.get_ident()]

def test_on_a_mock(bridge_mock_adapter, bridge_client):
    bridge_mock_adapter.answer("label", "x")
    assert bridge_client.call("label") == "x"

@pytest.mark.bridge_adapter("python_port", handler="math", size=2, share="module")
class TestShared:
    @pytest.mark.parametrize("number", [4, 9, 16])
    def test_shared(self, number, bridge_client):
        assert bridge_client.call("sqrt", [number]) ** 2 == number

class TestCase(unittest.TestCase):
    @pytest.mark.bridge_adapter("mock")
    def test_case(self):
        assert scope() == "with_adapter('mock')"

def test_unmarked(bridge_client):
    assert (scope(), bridge_client.stats().adapter) == (None, "python_port")
"""
PASSED = 15

THREADS = """
import threading

import pytest

import bridge

met = threading.Barrier(4)
threads = set()

@pytest.mark.bridge_adapter("mock")
def test_marked(bridge_client):
    met.wait(10)
    assert threading.current_thread() is not threading.main_thread()
    assert bridge_client.stats().adapter == "mock"
    with bridge.with_settings(size=3):
        met.wait(10)
        assert bridge_client.stats().size == 3
    threads.add(threading.get_ident())

def test_four_threads_ran_it():
    assert len(threads) == 4
"""


STRICT = ("-o", "asyncio_default_fixture_loop_scope=function", "-W", "error")


@pytest.fixture(autouse=True)
def _no_test_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests say themselves in which mode they are."""
    monkeypatch.delenv("TEST_MODE", raising=False)


def test_under_xdist_workers_are_in_the_mode_and_the_header_is_printed_once(pytester: pytest.Pytester) -> None:
    """--bridge-test-mode reaches both workers before their conftests are loaded."""
    pytester.makeconftest("import bridge\nmode = bridge.BridgeContainer().settings().test_mode")
    pytester.makepyfile(
        test_it="""
import os
import conftest
import pytest

@pytest.mark.parametrize("number", range(8))
def test_it(number, bridge_client):
    assert os.environ["PYTEST_XDIST_WORKER"] in ("gw0", "gw1")
    assert conftest.mode.value == os.environ["TEST_MODE"] == "bridge_mock"
    assert bridge_client.stats().adapter == "bridge_mock"
"""
    )
    done = pytester.runpytest_subprocess("-n", "2", "--bridge-test-mode=bridge_mock", *STRICT)

    done.assert_outcomes(passed=8)
    assert done.stdout.str().count("bridge: TEST_MODE=bridge_mock → bridge_mock") == 1


def test_under_xdist_each_test_is_in_its_own_scope(pytester: pytest.Pytester) -> None:
    """What tests of a module share is shared in each worker."""
    pytester.makepyfile(test_it=MIXED)
    pytester.runpytest_subprocess("-n", "2", *STRICT).assert_outcomes(passed=PASSED)


def test_under_run_parallel_each_thread_of_a_marked_test_is_in_its_scope(pytester: pytest.Pytester) -> None:
    """Four threads run each test; every one is in the scope. Fails when the function is wrapped outside the threads."""
    pytester.makepyfile(test_it=MIXED, test_threads=THREADS)
    done = pytester.runpytest_subprocess("-p", "no:randomly", "--parallel-threads=4", "-v", *STRICT)

    done.assert_outcomes(passed=PASSED + 2)
    done.stdout.fnmatch_lines(["test_it.py::test_marked PARALLEL PASSED*", "*::test_marked PARALLEL PASSED*"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_randomly_the_order_does_not_matter(pytester: pytest.Pytester, seed: int) -> None:
    """Marked, shared, unmarked tests in any order."""
    pytester.makepyfile(test_it=MIXED)
    done = pytester.runpytest_subprocess(f"--randomly-seed={seed}", *STRICT)

    done.assert_outcomes(passed=PASSED)
