"""What every adapter has to do, as tests to inherit.

Rules: plain asserts and plain methods, so that importing it doesn't need pytest; no behaviour is asked for that the
adapter's capabilities don't promise. Our own adapters are tested by it, and by nothing weaker. Apart from the fakes
because this one needs the whole house, and they only the contract.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from math import inf, isnan
from pathlib import Path
from typing import Any, ClassVar

from bridge.contract import (
    Capability,
    FdChannel,
    PlacedChannel,
    PlacingAdapter,
    ProcessAdapter,
    ProcessChannel,
    SharingChannel,
    WorkerInfo,
)
from bridge.errors import (
    BridgeError,
    CallCancelled,
    CallError,
    CallTimeout,
    CapabilityError,
    PoolClosed,
    PoolTimeout,
    RemoteError,
    WorkerCrashed,
    WorkerStartError,
)
from bridge.testing.contract_base import raised
from bridge.testing.dialogue_contract import DialogueContract
from bridge.testing.possessions import left_behind, possessions
from bridge.testing.session_contract import SessionContract
from bridge.testing.values_contract import ValuesContract


class AdapterContract(DialogueContract, SessionContract, ValuesContract):
    """Inherit it in a test module, as `class TestMine(AdapterContract)`, and override `make_adapter`.

    Every test makes its own adapter, and closes it. What an adapter without descriptors or processes can't do isn't
    asked of it.
    """

    nap: ClassVar[float] = 0.8
    """Seconds that the handler takes for its slow command. Callers are free again long before."""
    slack: ClassVar[float] = 0.6
    """Seconds within which a caller whose deadline has passed, or who was cancelled, is free again."""
    shares_handlers: ClassVar[bool] = False
    """Whether its workers are places in an engine, which makes handlers as it needs them. It has to have one process,
    since what a handler keeps is looked at."""

    # -- Values, commands, errors ------------------------------------------------------------------------

    def test_arguments_go_by_keyword_by_position_or_not_at_all(self) -> None:
        """A mapping, a list or a tuple, None: as in JSON-RPC."""
        with self.opened() as (bridge, _):
            assert bridge.call("add", {"a": 1, "b": 2}) == 3
            assert bridge.call("add", [1, 2]) == 3
            assert bridge.call("add", (1,)) == 2
            assert bridge.call("echo") is None

    def test_values_come_back_as_they_went(self) -> None:
        """Text of every kind, large integers, nested and empty containers; tuples as lists, NaN as itself."""
        with self.opened() as (bridge, _):
            for value in _values():
                assert bridge.call("echo", [value]) == value
            assert bridge.call("echo", {"value": (1, (2,))}) == [1, [2]]
            assert isnan(bridge.call("echo", [float("nan")]))

    def test_an_async_command_is_awaited(self) -> None:
        """Its caller gets what it returns, also one who is in an event loop."""

        async def call() -> Any:
            return bridge.call("later", [2])

        with self.opened() as (bridge, _):
            assert bridge.call("later", [1]) == 1
            assert asyncio.run(call()) == 2

    def test_a_result_is_the_callers_own(self) -> None:
        """Changing it changes nothing that the handler keeps."""
        with self.opened() as (bridge, _), bridge.lease() as lease:
            lease.call("keep", [1]).append("mine")

            assert lease.call("keep", [2]) == [1, 2]

    def test_an_unknown_command_is_the_callers_fault(self) -> None:
        """A CallError of kind command; the worker lives on."""
        with self.opened() as (bridge, _):
            error = raised(CallError, bridge.call, "no_such_command")

            assert (error.kind, error.side, error.command) == ("command", "caller", "no_such_command")
            assert bridge.call("echo", [1]) == 1

    def test_hooks_and_hidden_names_are_no_commands(self) -> None:
        """What begins with an underscore, and what the worker calls by itself."""
        with self.opened() as (bridge, _):
            for name in ("on_start", "on_reset", "on_close", "_note", "__init__", ""):
                assert raised(CallError, bridge.call, name).kind == "command", name

    def test_wrong_arguments_are_the_callers_fault(self) -> None:
        """Missing, too many or unknown: a CallError that says what is taken."""
        with self.opened() as (bridge, _):
            for args in (None, [1, 2, 3], {"a": 1, "c": 2}):
                error = raised(CallError, bridge.call, "add", args)

                assert (error.kind, error.side) == ("arguments", "caller")
                assert "it takes (a" in error.detail

    def test_what_the_handler_raises_is_a_remote_error(self) -> None:
        """Type, message and traceback are text; of the traceback only the handler's own lines."""
        with self.opened() as (bridge, _):
            error = raised(RemoteError, bridge.call, "fail", {"message": "oh"})

            assert error.type == "bridge_handler_contract_handler.ContractError"
            assert (error.message, error.command) == ("oh", "fail")
            assert "raise ContractError(message)" in error.remote_traceback
            assert error.remote_traceback.count("  File ") == 1
            assert bridge.call("echo", [1]) == 1

    def test_a_result_that_cannot_travel_is_the_handlers_fault(self) -> None:
        """A CallError of kind result that says where in the value."""
        with self.opened() as (bridge, _):
            error = raised(CallError, bridge.call, "unencodable")

            assert (error.kind, error.side) == ("result", "handler")
            assert "result.items[1].when is of type set" in error.detail

    def test_an_argument_that_cannot_travel_is_refused_before_a_worker_is_taken(self) -> None:
        """At once, though the only worker is lent."""
        with self.opened() as (bridge, _), bridge.lease():
            error = raised(CallError, bridge.call, "echo", [{1, 2}])

            assert (error.kind, error.side) == ("arguments", "caller")

    def test_arguments_of_exactly_the_limit_arrive(self) -> None:
        """One byte more is refused; what the caller's side adds to a call, its deadline, doesn't count."""
        with self.opened(max_frame_bytes=2000) as (bridge, _):
            text = "x" * (2000 - len('["echo",[""]]'))
            assert bridge.call("echo", [text], timeout=30) == text
            assert "over max_frame_bytes" in raised(CallError, bridge.call, "echo", [text + "x"]).detail

    def test_a_result_over_the_limit_is_refused(self) -> None:
        """The worker doesn't send it, and lives on."""
        with self.opened(max_frame_bytes=4096) as (bridge, runtime):
            if Capability.FDS in runtime.adapter.capabilities:
                error = raised(CallError, bridge.call, "letters", [5000])

                assert (error.kind, error.side) == ("result", "handler")
                assert "max_frame_bytes=4096" in error.detail
            assert bridge.call("letters", [3]) == "xxx"

    # -- Workers -----------------------------------------------------------------------------------------

    def test_state_stays_with_the_worker_and_is_reset_after_a_lease(self) -> None:
        """Calls of one lease share what the handler keeps; `on_reset` runs when the lease is given back."""
        with self.opened() as (bridge, _):
            with bridge.lease() as lease:
                assert [lease.call("keep", [number]) for number in (1, 2)] == [[1], [1, 2]]
            with bridge.lease() as lease:
                assert lease.call("keep", [3]) == [3]

    def test_each_worker_starts_and_ends_with_its_hooks(self) -> None:
        """`on_start` before the first call, `on_close` when the bridge is closed: once for each worker."""
        with tempfile.TemporaryDirectory() as folder:
            diary = Path(folder, "diary")
            with self.opened(2, options={"diary": str(diary)}) as (bridge, _):
                assert bridge.call("echo", [1]) == 1
                made = 1 if self.shares_handlers else 2
                assert diary.read_text().split() == ["on_start"] * made

            assert diary.read_text().split() == ["on_start"] * made + ["on_close"] * made

    def test_threads_that_share_workers_get_their_own_answers(self) -> None:
        """Eight callers on two workers."""
        wrong: list[Any] = []

        def call(number: int) -> None:
            for step in range(20):
                sent = {"from": number, "step": step}
                try:
                    answer = bridge.call("echo", [sent])
                except BridgeError as error:
                    answer = error
                if answer != sent:
                    wrong.append(answer)

        with self.opened(2) as (bridge, runtime):
            threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stats = runtime.stats()

        assert wrong == []
        assert (stats.calls, stats.busy, len(stats.workers)) == (160, 0, 2)

    def test_map_keeps_order_and_can_yield_errors(self) -> None:
        """Results in the order of the items; an error in its item's place, if asked for."""
        items = [[1, 2], [3], [4, "x"], [5, 6]]
        with self.opened(2) as (bridge, _):
            assert list(bridge.map("echo", range(20), arg="value")) == list(range(20))
            results = list(bridge.map("add", items, return_exceptions=True))

        assert isinstance(results[2], RemoteError)
        assert [*results[:2], results[3]] == [3, 4, 11]

    # -- Time --------------------------------------------------------------------------------------------

    def test_a_call_that_takes_too_long_frees_its_caller(self) -> None:
        """CallTimeout soon after the deadline; the next call gets its own answer, not the late one."""
        with self.opened() as (bridge, _):
            began = time.monotonic()
            error = raised(CallTimeout, bridge.call, "nap", [self.nap], timeout=0.05)
            took = time.monotonic() - began

            assert (error.command, error.timeout, error.retryable) == ("nap", 0.05, False)
            assert 0.05 <= took < 0.05 + self.slack
            assert [bridge.call("echo", [number]) for number in range(5)] == list(range(5))

    def test_waiting_for_a_worker_is_bounded(self) -> None:
        """PoolTimeout at `checkout_timeout`; nothing was sent."""
        with self.opened(checkout_timeout=0.05) as (bridge, _), bridge.lease() as lease:
            error = raised(PoolTimeout, bridge.call, "echo", [1])

            assert error.retryable
            assert lease.call("echo", [2]) == 2

    def test_a_lease_can_be_cancelled_from_another_thread(self) -> None:
        """Its call ends in CallCancelled soon; another worker takes the place of the one that was lost."""
        errors: list[BridgeError] = []

        def nap() -> None:
            try:
                lease.call("nap", [self.nap])
            except BridgeError as error:
                errors.append(error)

        with self.opened() as (bridge, runtime):
            lease = bridge.lease()
            thread = threading.Thread(target=nap)
            thread.start()
            while not runtime.stats().workers[0].calls:
                os.sched_yield()  # until the call is on its way
            began = time.monotonic()
            lease.cancel()
            thread.join()
            took = time.monotonic() - began
            lease.close()

            assert [(type(error), error.retryable) for error in errors] == [(CallCancelled, False)]
            assert took < self.slack
            assert bridge.call("echo", [1]) == 1

    # -- Life --------------------------------------------------------------------------------------------

    def test_a_handler_that_cannot_be_made_is_reported_with_its_traceback(self) -> None:
        """WorkerStartError of reason handler, at once."""
        missing = "bridge.testing.no_such_module:Handler"
        error = raised(WorkerStartError, self._enter, handler=missing, fake=missing)

        assert (error.reason, error.final) == ("handler", True)
        assert "no_such_module" in error.remote_traceback

    def test_a_start_that_takes_too_long_is_given_up(self) -> None:
        """WorkerStartError of reason timeout, where a start can be given up: not in the caller's own thread."""
        if Capability.FDS in self.make_adapter().capabilities:
            began = time.monotonic()
            slow = {"load_seconds": self.nap}
            error = raised(WorkerStartError, self._enter, startup_timeout=0.05, options=slow)
            took = time.monotonic() - began

            assert error.reason == "timeout"
            assert took < 0.05 + self.slack + self.nap  # the handler may have to be awaited at the end

    def _enter(self, **settings: Any) -> None:
        with self.opened(**settings):
            raise AssertionError("it became ready")

    def test_a_closed_bridge_refuses_calls(self) -> None:
        """Closing is idempotent; a call after it is PoolClosed."""
        with self.opened() as (bridge, _):
            assert bridge.call("echo", [1]) == 1
            bridge.close()
            bridge.close()

            raised(PoolClosed, bridge.call, "echo", [1])
            raised(PoolClosed, bridge.lease)

    def test_closing_leaves_nothing_behind(self) -> None:
        """No thread, no descriptor and no child process."""
        with self.opened(2) as (bridge, _):
            assert bridge.call("echo", [1]) == 1  # what this process opens once, it has by now
        before = possessions()
        with self.opened(2) as (bridge, _):
            assert list(bridge.map("echo", range(4), arg="value")) == [0, 1, 2, 3]
            raised(RemoteError, bridge.call, "fail")

        assert self.left_behind(before) == set()

    def left_behind(self, before: set[str]) -> set[str]:
        """What is there now and wasn't `before`. Override it for an engine that opens something when it likes."""
        return left_behind(before)

    def test_a_worker_that_dies_fails_one_call_and_is_replaced(self) -> None:
        """WorkerCrashed says how it ended. Only of processes: elsewhere the handler would take the caller along."""
        with self.opened() as (bridge, runtime):
            if Capability.PROCESSES in runtime.adapter.capabilities:
                error = raised(WorkerCrashed, bridge.call, "crash")

                assert (error.signal_name, error.command, error.retryable) == ("SIGKILL", "crash", False)
            assert bridge.call("echo", [1]) == 1

    def test_adapter_and_channels_have_the_form_of_the_contract(self) -> None:
        """What the capabilities promise is there, and what they don't is refused in the agreed way."""
        with self.opened() as (_, runtime):
            adapter = runtime.adapter
            able = adapter.capabilities
            (worker,) = runtime.supervisor.workers.values()
            channel = worker.channel
            lacks = adapter.lacks(runtime.spec) if isinstance(adapter, PlacingAdapter) else {}
            able = able.difference(lacks)
            assert isinstance(channel, PlacedChannel) or not lacks
            if isinstance(channel, PlacedChannel):
                assert able <= channel.capabilities
                assert channel.capabilities.isdisjoint(lacks)

            assert adapter.name
            assert isinstance(able, frozenset)
            assert all(isinstance(capability, Capability) for capability in able)
            assert isinstance(adapter, ProcessAdapter) or Capability.PROCESSES not in able
            assert isinstance(channel, ProcessChannel) == (Capability.PROCESSES in able)
            assert isinstance(channel, FdChannel) == (Capability.FDS in able)
            assert isinstance(channel.info, WorkerInfo)
            assert isinstance(channel, SharingChannel) or Capability.SHARED_MEMORY not in able
            assert Capability.SHARED_MEMORY in able or getattr(channel, "arena", -1) < 0
            assert (channel.sentinel() is None) == (Capability.PROCESSES not in able)
            fds = channel.fileno()
            assert (fds is None) == (Capability.FDS not in able)
            for fd in fds or ():
                assert not os.get_blocking(fd)
                assert not os.get_inheritable(fd)
            if fds is not None:
                raised(CapabilityError, channel.submit, None, None)
            if Capability.SOFT_CANCEL not in able:
                raised(CapabilityError, channel.cancel, 1)
            assert isinstance(channel.stderr_tail(), str)
            channel.kill()
            channel.kill()


def _values() -> list[Any]:
    """What has to survive the way there and back."""
    return [
        *(None, True, 0, -(2**70), 1.5, inf, "", "naïve 日本 \N{GRINNING FACE} \x00", [], {}),
        {"": [[], {"a": None}], "deep": {"er": [{"x": [1, 2.5, "z"]}]}},
        list(range(1000)),
    ]
