"""The state of each session, where its calls run: a dict for each, and the handler's hooks at its beginning and end.

Rules: standard library only, Python 3.8 syntax; a worker loads this file beside worker.py when the first call of a
session comes. The caller says which state is meant, by key and epoch: another epoch of the same key is another session,
and ends the one that is here. A state is kept only once `on_session_start` has returned, and dropped before its
`on_session_end` runs, so that whatever a hook raises, or a cancel in it, leaves no session half there. Apart from
dialogue.py, which has one call; the mocks keep states by this same class.
"""

from bridge.handler import invoke, result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest


class States:
    """Of one worker.

    Args:
        hooks: Those of the handler, by name.
    """

    def __init__(self, hooks: "Dict[str, Callable[..., Any]]") -> None:
        self._hooks = hooks
        self._kept: "Dict[str, Tuple[int, Dict[str, Any]]]" = {}
        self._ending: "List[Tuple[str, Dict[str, Any]]]" = []  # dropped; their hook is still to run

    def enter(self, key: str, epoch: int, state: "Any", run: "Callable[..., Any]" = invoke) -> "Dict[str, Any]":
        """The state that a call is given: what is kept here, else a new one.

        Args:
            state: What a new one begins with, if not with nothing.
            run: Calls a hook with its arguments. What `on_session_start` raises is the outcome of the call; no state
                is kept then.
        """
        epoch_here, session = self._kept.get(key, (None, {}))
        if epoch_here == epoch:
            return session
        if epoch_here is not None:
            self.end([[key, epoch_here]], run)
        session = dict(state or {})
        if "on_session_start" in self._hooks:
            run(self._hooks["on_session_start"], [key, session])
        self._kept[key] = (epoch, session)
        return session

    def end(self, ended: "Any", run: "Callable[..., Any]" = invoke) -> None:
        """Drop sessions, and tell the handler.

        Args:
            ended: Pairs of key and epoch; what isn't here is passed over.
        """
        if not ended and not self._ending:
            return
        for key, epoch in ended:
            if key in self._kept and self._kept[key][0] <= epoch:  # an older one, if a call of the newer was never sent
                self._ending.append((key, self._kept.pop(key)[1]))
        hook = self._hooks.get("on_session_end")
        if hook is None:
            self._ending.clear()
        while self._ending:
            try:
                run(hook, list(self._ending.pop(0)))
            except (Exception, SystemExit):  # it is nobody's outcome: the call that comes with it is another's
                from traceback import print_exc

                print_exc()

    def end_all(self, run: "Callable[..., Any]" = invoke) -> None:
        """The worker ends."""
        self.end([(key, epoch) for key, (epoch, _) in self._kept.items()], run)

    @staticmethod
    def snapshot_of(
        session: "Dict[str, Any]", limit: int, encode: "Any" = result_of
    ) -> "Tuple[Optional[Dict[str, str]], bytes]":
        """As handler.result_of: the fields of an ERROR frame if a state can't travel, else its bytes.

        Args:
            encode: `result_of`, of whatever codec.
        """
        fault, body = encode(session, limit)
        if fault is not None:
            text = fault["message"].replace("the result", "its state").replace("result", "session", 1)
            text = text.replace("max_frame_bytes", "max_snapshot_bytes").replace("return less", "keep less")
            fault = dict(fault, message="the session is durable, and " + text)
        return fault, body
