"""The adapter that records what another one's workers answer, and answers by itself from such a recording.

Rules: recording changes nothing of a call: the other adapter's channels are handed out as they are, with an ear at
each (or a wrapper, where there are no descriptors to hear). The cassette is whole or as it was before: it is replaced
when the adapter is closed. Apart from playback.py, which answers, and from bridge/takes.py, which hears.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from bridge.adapters.playback import PlayedChannel, Player
from bridge.cassette import Cassette, Match, Tape, read, shown
from bridge.contract import (
    Adapter,
    Capability,
    Channel,
    ExitStatus,
    ForkedAdapter,
    PlacingAdapter,
    ProcessAdapter,
    Reply,
    Request,
    WorkerSpec,
)
from bridge.drift import CassetteDrift, drifts_of
from bridge.errors import ConfigurationError
from bridge.redaction import Redact, redaction
from bridge.registry import find
from bridge.takes import FrameEar, Recorder, Talk
from bridge.wire import decode_json

__scoped_bridge__: Final = True

log = logging.getLogger("bridge.recording")

MODES: Final = ("replay", "record", "verify")
PLAYED: Final = frozenset({Capability.STREAMS, Capability.CALLBACKS, Capability.SESSIONS})
"""What a cassette can do, if the workers could that it was recorded from."""


class RecordingAdapter:
    """Records calls, or answers them from what was recorded.

    Args:
        cassette: Path of the file, from the current directory.
        mode: "replay" answers from the cassette, without workers. "record" has the other adapter's workers answer, and
            writes the cassette anew when it is closed. "verify" has them answer too, writes nothing, and says when it
            is closed what differs from the cassette.
        of: The adapter that is recorded: a name, an instance, which is never closed here, or a class or function that
            makes one.
        redact: Names of keys whose values get into no file, and neither do they where else they turn up in the same
            exchange; or a function of an exchange that returns what may be seen of it.
        match: A function of command and args that returns what of them has to be equal in a call that is recorded and
            one that is replayed; not given: both. Args are as they stand in the cassette.

    Raises:
        ConfigurationError: One of these can't be used; or the cassette to be replayed can't be read, with the line.
    """

    name = "recording"

    def __init__(
        self,
        cassette: str | os.PathLike[str],
        *,
        mode: str = "replay",
        of: Any = "python_port",
        redact: str | Iterable[str] | Redact | None = None,
        match: Match | None = None,
    ) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"mode is one of {', '.join(MODES)}, not {mode!r:.60}")
        if not isinstance(cassette, (str, os.PathLike)):
            raise ConfigurationError(f"cassette is the path of a file, not {cassette!r:.60}")
        if match is not None and not callable(match):
            raise ConfigurationError(f"match is a function of command and args, not {match!r:.60}")
        self._path, self._redact, self._match = os.path.abspath(cassette), redaction(redact), match
        self._before: Cassette | None = None
        self._tape: Tape | None = None
        self._recorder: Recorder | None = None
        self._player: Player | None = None
        self._inner: Adapter | None = None
        if mode != "record":
            self._before = read(self._path)
        if mode == "replay" and self._before is not None:
            able = self._before.header.get("capabilities", ())
            self._player = Player(self._path, self._before, self._redact, match)
            self.capabilities = frozenset(each for each in PLAYED if each.value in able)
        else:
            self._inner, self._owns_inner = _made(of)
            self.capabilities = self._inner.capabilities - {Capability.PICKLE}

    @property
    def spec(self) -> WorkerSpec | None:
        """What the other adapter was made for, if it was made for something."""
        found = getattr(self._inner, "spec", None)
        return found if isinstance(found, WorkerSpec) else None

    @property
    def unplayed(self) -> tuple[int, ...]:
        """Lines of the cassette that nobody has asked for yet."""
        return () if self._player is None else tuple(line.number for line in self._player.left)

    def lacks(self, spec: WorkerSpec) -> Mapping[Capability, str]:
        """As of the other adapter; replaying, nothing more."""
        return self._inner.lacks(spec) if isinstance(self._inner, PlacingAdapter) else {}

    # -- The adapter -------------------------------------------------------------------------------------

    def open(self, spec: WorkerSpec, *, deadline: float) -> Channel:
        """One more worker of the other adapter's; replaying, none.

        Raises:
            ConfigurationError: The cassette can't be written, or another recording of it goes on.
            WorkerStartError: As of the other adapter.
        """
        if self._player is not None:
            return PlayedChannel(self._player, spec)
        assert self._inner is not None
        recorder = self._recorder or self._begun(spec)
        channel = self._inner.open(spec, deadline=deadline)
        return channel if channel.fileno() is not None else RecordedChannel(channel, recorder)

    def _begun(self, spec: WorkerSpec) -> Recorder:
        assert self._inner is not None
        if self._before is None:
            capabilities = sorted(each.value for each in PLAYED & self.capabilities)
            header = {"handler": _shown(spec.handler), "adapter": self._inner.name, "capabilities": capabilities}
            self._tape = Tape(self._path, header)
        self._recorder = Recorder(self._redact, None if self._tape is None else self._tape.add)
        return self._recorder

    def ear(self) -> FrameEar | None:
        """For a channel that was just opened."""
        return None if self._recorder is None else FrameEar(self._recorder)

    def close(self) -> None:
        """End the other adapter, if it is ours, and put the recording in the cassette's place. Idempotent.

        Raises:
            ConfigurationError: The cassette can't be written, what was recorded is beside it; or not all could be
                recorded, and the cassette has the rest.
            CassetteDrift: Of "verify": what was answered isn't what the cassette says.
        """
        try:
            if self._inner is not None and self._owns_inner:
                self._inner.close()
        finally:
            tape, recorder = self._tape, self._recorder
            self._tape = self._recorder = None
            if recorder is not None:
                self._finish(tape, recorder)

    def _finish(self, tape: Tape | None, recorder: Recorder) -> None:
        recorder.leave_all()
        if tape is not None:
            tape.finish(recorder.takes, self._match)
            if recorder.unanswered:
                calls = "; ".join(sorted({shown(each) for each in recorder.unanswered}))
                log.warning("calls that got no answer aren't in %s: %s", self._path, calls)
        if recorder.faults:
            many = len(recorder.faults)
            raise ConfigurationError(f"{many} exchanges aren't in {self._path}. Of the first: {recorder.faults[0]}")
        if self._before is not None:
            drifts = drifts_of(self._before.lines, recorder.takes, recorder.unanswered, self._match)
            if drifts:
                raise CassetteDrift(self._path, drifts, calls=len(recorder.takes) + len(recorder.unanswered))

    def forget(self) -> None:
        """In a forked child: the recording is the parent's."""
        tape, self._tape, self._recorder = self._tape, None, None
        if tape is not None:
            tape.forget()
        if isinstance(self._inner, ForkedAdapter):
            self._inner.forget()

    def settle(self) -> int | None:
        """As of the other adapter."""
        return self._inner.settle() if isinstance(self._inner, ProcessAdapter) else None


class RecordedChannel:
    """A channel without descriptors, heard."""

    def __init__(self, channel: Channel, recorder: Recorder) -> None:
        self.info, self._channel, self._recorder = channel.info, channel, recorder
        self.hooks: frozenset[str] = getattr(channel, "hooks", frozenset())
        self._talk: Talk | None = None

    def fileno(self) -> None:
        """None, as of the other one."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Begin the call there."""
        if request.hook:
            self._channel.submit(request, done)
            return
        session = None if request.session is None else request.session.key
        talk = self._talk = self._recorder.begin(
            request.command, request.args, session=session, streams=request.streams
        )
        self._channel.submit(
            replace(request, progress=_heard(request.progress, talk), ask=_answered(request.ask, talk)),
            lambda reply: done(_ended(reply, talk)),
        )

    def cancel(self, call_id: int) -> None:
        """As there."""
        self._channel.cancel(call_id)

    def kill(self) -> None:
        """As there. An answer that comes nevertheless is nobody's."""
        if self._talk is not None:
            self._talk.leave()
        self._channel.kill()

    def sentinel(self) -> int | None:
        """As there."""
        return self._channel.sentinel()

    def ending(self) -> ExitStatus:
        """As there, if it knows."""
        ending: Callable[[], ExitStatus] = getattr(self._channel, "ending", ExitStatus)
        return ending()

    def stderr_tail(self) -> str:
        """As there."""
        return self._channel.stderr_tail()


def _heard(progress: Callable[[Any], object] | None, talk: Talk) -> Callable[[Any], object] | None:
    def report(value: Any) -> object:
        talk.item(value)
        return progress(value) if progress is not None else None

    return None if progress is None else report


def _answered(ask: Callable[[Any], bytes] | None, talk: Talk) -> Callable[[Any], bytes] | None:
    def answer(asked: Any) -> bytes:
        talk.ask(asked)
        body = ask(asked) if ask is not None else b""
        talk.answer(decode_json(bytes(body)))
        return body

    return None if ask is None else answer


def _ended(reply: Reply, talk: Talk) -> Reply:
    """The same reply, heard; of a stream, as it is taken."""
    if reply.items is not None:
        return replace(reply, items=_taken(reply.items, talk))
    if reply.error is not None:
        talk.fail(reply.error)
    else:
        talk.result(reply.value)
    return reply


def _taken(items: Generator[Any, None, bytes | None], talk: Talk) -> Generator[Any, None, bytes | None]:
    try:
        while True:
            try:
                item = next(items)
            except StopIteration as end:
                talk.result(None)
                snapshot: bytes | None = end.value
                return snapshot
            talk.item(item)
            yield item
    except Exception as error:
        talk.fail(error)
        raise
    finally:
        talk.leave()  # of one that hasn't ended
        items.close()


def _made(of: Any) -> tuple[Adapter, bool]:
    """The adapter that is meant, and whether it is ours to close."""
    if not isinstance(of, (str, type)) and hasattr(of, "capabilities"):
        found: Adapter = of
        return found, False
    factory = find(of) if isinstance(of, str) else of
    if factory is RecordingAdapter or not callable(factory):
        raise ConfigurationError(
            f"of={of!r:.60} can't be recorded: give the name of an adapter, one, or what makes one"
        )
    made: Adapter = factory()
    return made, True


def _shown(handler: str) -> str:
    """A handler as it stands in a cassette: of a file, its name alone, since its folder is another one elsewhere."""
    name, colon, attribute = handler.partition(":")
    return f"{os.path.basename(name)}{colon}{attribute}" if name.endswith(".py") else handler
