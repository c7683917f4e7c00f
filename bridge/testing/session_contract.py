"""What an adapter has to do that keeps a state for each session: a part of AdapterContract.

Rules: those of adapter_contract.py. Apart from that file for its length.
"""

from __future__ import annotations

from bridge.contract import Capability
from bridge.core.sessions import SessionPolicy
from bridge.errors import CallError, CapabilityError, RemoteError, SessionLost, WorkerCrashed, WorkerError
from bridge.testing.contract_base import ContractBase, raised


class SessionContract(ContractBase):
    """The part of the suite about calls that share a state."""

    def test_sessions_that_it_cannot_keep_are_refused(self) -> None:
        """A call in a session is a CapabilityError where there are none, and nothing was sent."""
        if self._can(Capability.SESSIONS):
            return
        with self.opened() as (bridge, _):
            assert "keeps no state" in str(raised(CapabilityError, bridge.session("a").call, "whose"))

    def test_calls_of_a_session_share_a_state(self) -> None:
        """By whatever handle; another session has another one, and a call in none has none."""
        if not self._can(Capability.SESSIONS):
            return
        with self.opened() as (bridge, _):
            one, two = bridge.session("one"), bridge.session("two")
            assert one.call("remember", [1]) == [1]
            assert two.call("remember", ["x"]) == ["x"]
            assert one.call("remember", {"value": 2}) == [1, 2]
            assert bridge.call("remember", [3], session="one") == [1, 2, 3]
            assert bridge.call("whose") is None
            assert "session" in str(raised(CallError, bridge.call, "remember", [1]))
            assert bridge.stats().sessions == 2

    def test_the_handler_is_told_of_its_begin_and_end(self) -> None:
        """Once each, with the key and the state; a session that was closed begins anew."""
        if not self._can(Capability.SESSIONS):
            return
        with self.opened() as (bridge, _):
            with bridge.session("one") as one:
                one.call("remember", [1])
                one.call("remember", [2])
            assert bridge.call("sessions") == [["start", "one", {}], ["end", "one", {"kept": [1, 2]}]]
            assert "closed" in str(raised(WorkerError, one.call, "whose"))
            assert bridge.session("one").call("whose") == {}
            assert bridge.stats().sessions == 1

    def test_the_least_recently_used_goes_first(self) -> None:
        """Beyond the limit it ends; its handler is told before the next call of a session there, its user once."""
        if not self._can(Capability.SESSIONS):
            return
        with self.opened(sessions=SessionPolicy(max_sessions=2)) as (bridge, _):
            old, kept = (bridge.session(key, affinity="strict_queue") for key in ("old", "kept"))
            for session in (old, kept):
                session.call("remember", [1])
            bridge.session("new").call("remember", [1])
            kept.call("remember", [2])

            ended = [entry[:2] for entry in bridge.call("sessions") if entry[0] == "end"]
            assert ended == [["end", "old"]]
            assert "max_sessions=2" in raised(SessionLost, old.call, "whose").why
            assert old.call("whose") == {}

    def test_a_stream_is_a_call_of_its_session(self) -> None:
        """Its generator has the state, and leaves it to the next call."""
        if not self._can(Capability.SESSIONS) or not self._can(Capability.STREAMS):
            return
        with self.opened() as (bridge, _):
            for durable in (False, True):
                session = bridge.session(f"durable {durable}", durable=durable)
                session.call("remember", [1])
                session.call("remember", [2])
                assert list(session.stream("recall")) == [1, 2]
                assert session.call("whose") == {"kept": []}

    def test_a_durable_session_stands_at_the_last_call_that_returned(self) -> None:
        """What fails leaves it as it was; where it isn't durable, as the handler left it."""
        if not self._can(Capability.SESSIONS):
            return
        with self.opened() as (bridge, _):
            durable, plain = bridge.session("durable", durable=True), bridge.session("plain")
            for session in (durable, plain):
                session.call("remember", [1])
                raised(RemoteError, session.call, "forget")
            assert durable.call("whose") == {"kept": [1]}
            assert plain.call("whose") == {"kept": ["half done"]}
            refused = raised(CallError, durable.call, "forget", ["unencodable"])
            assert "session.kept is of type set" in str(refused)
            assert durable.call("whose") == {"kept": [1]}

    def test_a_durable_state_has_a_limit(self) -> None:
        """Above it the call fails, and the session stands as before."""
        if not self._can(Capability.SESSIONS):
            return
        with self.opened(sessions=SessionPolicy(max_snapshot_bytes=1000)) as (bridge, _):
            session = bridge.session("a", durable=True)
            session.call("remember", [1])
            assert "max_snapshot_bytes=1000" in str(raised(CallError, session.call, "remember", ["x" * 1000]))
            assert session.call("whose") == {"kept": [1]}

    def test_a_durable_session_survives_its_worker(self) -> None:
        """With what the last call left; a strict one that isn't durable is lost, and its user told once."""
        if not self._can(Capability.SESSIONS) or not self._can(Capability.PROCESSES):
            return
        with self.opened() as (bridge, _):
            durable = bridge.session("durable", durable=True)
            strict, hint = bridge.session("strict", affinity="strict_queue"), bridge.session("hint")
            for session in (durable, strict, hint):
                session.call("remember", [1])
            raised(WorkerCrashed, durable.call, "forget", ["crash"])
            assert durable.call("whose") == {"kept": [1]}
            assert bridge.call("sessions") == [["start", "durable", {"kept": [1]}]]
            assert raised(SessionLost, strict.call, "whose").key == "strict"
            assert strict.call("whose") == {}
            assert hint.call("whose") == {}
