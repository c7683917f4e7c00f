"""What a Bridge, or a container, asks for its runtime: the one place where a scope meets the settings.

Rules: who asks is answered by the scope that the caller is in, at the door, and what was found travels on as an
argument; nothing is remembered of it but in the frame that answered, or here when none did. A runtime is built under a
lock, once, and starts nothing. Apart from scope.py, which knows frames and no settings, and from assembly.py, which
knows settings and no frames.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bridge.assembly import Choice, absolute, assemble, of_mode
from bridge.errors import ConfigurationError, PoolClosed, ScopeClosedError, ScopeError, UnscopedAccessError
from bridge.frames import CURRENT, Frame, Kind
from bridge.plan import ScopePlan
from bridge.runtime import Runtime, RuntimeState
from bridge.runtime.courier import Listener
from bridge.runtime.watching import OnCall
from bridge.schema import BridgeSettings

log = logging.getLogger("bridge.scope")

CURRENT_FRAME: Final = CURRENT.get
OVER = (RuntimeState.CLOSING, RuntimeState.CLOSED)


def refuse(name: str) -> Runtime:
    """What answers for a bridge that was closed for good."""
    raise PoolClosed(name)


class Binding:
    """One container's, or one connected Bridge's, way to its runtime.

    Args:
        base: The settings without any scope; called once, at first use.
        choice: The adapter that was set for it, if one was; called when a runtime is built that no scope decides.
        scoped: Whether scopes count; not for `connect(adapter=...)`.
        reopens: Whether `start` opens it again after `close`.
        check: Called once, at first use; raises ConfigurationError.
        listener: The callback for events, if there is one; called when a runtime is built.
        on_call: The same for calls.
    """

    def __init__(
        self,
        base: Callable[[], BridgeSettings],
        choice: Callable[[], Choice | None] = lambda: None,
        *,
        scoped: bool = True,
        reopens: bool = False,
        check: Callable[[], None] = bool,  # type: ignore[assignment]  # it does nothing
        listener: Callable[[], Listener | None] = lambda: None,
        on_call: Callable[[], OnCall | None] = lambda: None,
    ) -> None:
        self.birth = CURRENT.get()
        self.everywhere: Frame | None = None
        self._base, self._choice, self._check, self._listener, self._on_call = base, choice, check, listener, on_call
        self._scoped, self._reopens = scoped, reopens
        self._settings: BridgeSettings | None = None
        self._default: Runtime | None = None
        self._closed = self._shut = self._given_up = self._checked = False
        self._pid, self._guard = os.getpid(), threading.RLock()

    # -- At the door -------------------------------------------------------------------------------------

    def peek(self) -> Runtime:
        """What answers for the caller; built if need be, not started. Also when it was closed.

        Raises:
            ScopeClosedError: The caller still carries a scope that has ended.
            UnscopedAccessError: The caller is a thread without a scope, where tests are kept apart by scopes.
            ConfigurationError: It can't be built.
        """
        # The hot path: two look-ups, whatever the depth.
        frame = CURRENT_FRAME()
        if frame is None:
            default = self._default  # read once, here and below: another thread may drop it at any moment
            if self.birth is None and self.everywhere is None and default is not None:
                return default
        elif self._scoped and not frame.closed:
            owner = frame.pins.get(self, frame.default)
            if owner is not None and not owner.closed:
                found: Runtime | None = owner.runtimes.get(self)
                if found is not None:
                    return found
        return self._find(self._owner())

    runtime = peek
    """The same for calls; raises PoolClosed once it was closed for good."""

    def _find(self, owner: Frame | None) -> Runtime:
        if owner is None:
            return self._default or self._build_default()
        return owner.runtimes.get(self) or self.build_in(owner)

    def _owner(self) -> Frame | None:
        """The frame that answers for the caller; None when the default does."""
        if not self._scoped:
            return None
        frame = CURRENT.get()
        if frame is None and (frame := self._frame_of_nobody()) is None:
            return None
        frame.check()
        owner = frame.pins.get(self, frame.default)
        if owner is not None:
            owner.check()
        return owner

    def _frame_of_nobody(self) -> Frame | None:
        """The frame of a caller who has none: a plain thread, an application's own executor, production."""
        if self.everywhere is not None:
            return self.everywhere
        birth = self.birth
        if birth is None or birth.kind is Kind.SCOPE:
            return birth
        thread = threading.current_thread().name
        if birth.kind is Kind.TEST and birth.strict and birth.open_scopes:
            scopes = ", ".join(frame.label for frame in list(birth.open_scopes))  # others enter and leave meanwhile
            raise UnscopedAccessError(thread, name=self.name, why=f"{scopes} is open in the test that built it")
        if birth.kind is Kind.ROOT and birth.strict:
            why = "it was built at import time or in a wider fixture, so that no test is known to be the caller's"
            raise UnscopedAccessError(thread, name=self.name, why=why)
        return birth

    # -- Life --------------------------------------------------------------------------------------------

    def start(self) -> Runtime:
        """Start what answers for the caller, and wait until it is warm. Opens a container again that was shut down."""
        owner = self._owner()
        with self._lock_of(owner):
            self._given_up = False
            if owner is None:
                self._shut = False
            if self._reopens and self._find(owner).state in OVER:
                if owner is None:
                    self._default = None
                else:
                    owner.runtimes.pop(self, None)
        runtime = self.runtime()
        start(runtime)
        return runtime

    def close(self, timeout: float | None = None) -> None:
        """Close what answers for the caller, as Runtime.close; calls are refused until `start`, or for good."""
        own = []
        if not self._reopens:
            self._closed = True
            # A question less for each call until then. Not by a method: it would hold this, until the collector comes.
            self.runtime = partial(refuse, self.name)  # type: ignore[method-assign]
        try:
            owner = self._owner()
            with self._lock_of(owner):
                own = [self._own_runtime(owner)]
                if owner is None:
                    self._shut = True
        except (ScopeClosedError, ConfigurationError):
            self._given_up = True  # its scope has closed it already; or there never was one, and a call says why
        default = self._default
        if self._closed and default is not None and default not in own:
            own.append(default)
        faults = [each.await_closed(until) for each, until in [(each, each.request_close(timeout)) for each in own]]
        for fault in filter(None, faults):
            raise fault

    def _own_runtime(self, owner: Frame | None) -> Runtime:
        """What answers for the caller and for nobody else."""
        runtime = self._find(owner)
        if owner is not None and runtime is owner.shared:  # other containers go on with it
            owner.runtimes[self] = runtime = assemble(*self._effective(owner), self._listener(), self._on_call())
        return runtime

    def drop_default(self) -> None:
        """The default was replaced: what was built for the old one closes by itself, and the next use builds anew."""
        with self._lock():
            runtime, self._default, self._settings = self._default, None, None
        if runtime is not None:
            runtime.request_close()

    # -- For those who look ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Labels errors."""
        base = self.base
        return base.name or base.worker.handler or "bridge"

    @property
    def base(self) -> BridgeSettings:
        """The settings without any scope; read once."""
        found = self._settings
        if found is None:
            with self._lock():
                found = self._settings
                if found is None:
                    found = self._settings = self._base()
        return found

    def settings(self) -> BridgeSettings:
        """The settings that count for the caller."""
        owner = self._owner()
        return self.base if owner is None else self._effective(owner)[0]

    @property
    def is_over(self) -> bool:
        """Whether nothing is open for the caller."""
        try:
            owner = self._owner()
        except ScopeClosedError:
            return True
        found = self._default if owner is None else owner.runtimes.get(self)
        return self._given_up or (found is not None and found.state in OVER)

    def choice(self) -> Choice:
        """The adapter that was chosen for the caller, not made yet."""
        owner = self._owner()
        return (self._choice() or self._configured(self.base)) if owner is None else self._effective(owner)[1]

    # -- Building ----------------------------------------------------------------------------------------

    def _lock(self) -> Any:
        if self._pid != os.getpid():  # a forked child: a thread that isn't here may hold the old one
            self._pid, self._guard = os.getpid(), threading.RLock()
        return self._guard

    def _lock_of(self, owner: Frame | None) -> Any:
        # Never a frame's lock inside our own: what is built in a frame reads our settings, which takes ours.
        return self._lock() if owner is None else owner.lock()

    def _build_default(self) -> Runtime:
        self._run_check()
        with self._lock():
            runtime = self._default
            if runtime is None:
                values = self.base
                runtime = assemble(
                    values, self._choice() or self._configured(values), self._listener(), self._on_call()
                )
                if runtime.test_mode is not None:
                    _warn_of_test_mode(runtime)
                if self._shut:
                    runtime.request_close()  # what replaces a default that was shut down isn't open either
                runtime.origin = self.birth
                self._default = runtime
        return runtime

    def build_in(self, owner: Frame) -> Runtime:
        """What answers in a frame, which needn't be the caller's yet."""
        self._run_check()
        with owner.lock():
            found: Runtime | None = owner.runtimes.get(self)
            if found is None:
                owner.check()
                values, choice = self._effective(owner)
                found = owner.shared
                if found is None:
                    found = assemble(values, choice, self._listener(), self._on_call())
                    found.origin = owner
                    owner.own(found)
                owner.runtimes[self] = found
        return found

    def _run_check(self) -> None:
        if not self._checked:
            self._check()
            self._checked = True

    def _configured(self, values: BridgeSettings) -> Choice:
        mode = values.test_mode
        if mode is None:
            return Choice(values.adapter)
        choice = of_mode(mode, values)
        return Choice(choice.source, choice.options, mode)

    def _effective(self, owner: Frame) -> tuple[BridgeSettings, Choice]:
        """The nearest choice of an adapter, over the merged settings of all scopes around it."""
        base = values = self.base
        if values.status_socket is not None:
            values = values.with_changes({"status_socket": None})  # it is the application's, which may run beside
        plans: list[ScopePlan] = []
        for plan in plans_of(owner):
            if plan.key is None and self._is_for_another(plan, base.worker.handler):
                if any(inner.choice is not None for inner in plans):
                    continue  # the inner one says what runs here; what this one changes is for others
                raise ConfigurationError(
                    f"{plan.label} is for the handler {plan.handler!r}, but {self.name} calls {base.worker.handler!r}. "
                    "Say which container it is for: with_adapter(..., container=...)"
                )
            if plan.key in (None, self):
                plans.append(plan)
        for plan in reversed(plans):
            values = plan.applied_to(values)
        for number, plan in enumerate(plans):
            choice = plan.choice_for(values)
            if choice is not None:
                if choice.is_instance:
                    for inner in plans[: number + 1]:
                        inner.check_for_instance(choice)
                return values, choice
        return values, self._choice() or self._configured(values)

    def _is_for_another(self, plan: ScopePlan, own: str | None) -> bool:
        return bool(plan.handler and own) and absolute(plan.handler or "") != absolute(own or "")

    def __del__(self) -> None:
        runtime = getattr(self, "_default", None)
        if runtime is not None and runtime.state in (RuntimeState.STARTING, RuntimeState.OPEN):
            message = f"the bridge of {runtime.name} ({runtime.adapter.name}) was dropped without close()"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)
            runtime.request_close()


def plans_of(frame: Frame | None) -> list[ScopePlan]:
    """The plans of a frame and those around it, innermost first.

    Raises:
        ScopeClosedError: One of them has ended.
    """
    found: list[ScopePlan] = []
    while frame is not None:
        if isinstance(frame.plan, ScopePlan):
            frame.check()
            found.append(frame.plan)
        frame = frame.parent
    return found


def start(runtime: Runtime) -> None:
    """Start, and wait until it is warm; warns where that blocks an event loop."""
    if runtime.blocks and _in_event_loop():
        message = f"starting {runtime.name} here blocks the event loop; use `async with`"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    runtime.warm()


def _in_event_loop() -> bool:
    if "asyncio" not in sys.modules:  # not imported for this: it costs 50 ms
        return False
    from bridge.coroutines import is_running

    return is_running()


def claim_everywhere(binding: Binding, frame: Frame) -> None:
    """Let a frame answer threads that are in none.

    Raises:
        ScopeError: Another scope does already.
        ScopeClosedError: The frame was closed meanwhile.
    """
    with binding._lock():  # noqa: SLF001
        if binding.everywhere is not None:
            raise ScopeError(
                f"{binding.everywhere.label} answers threads without a scope already; only one scope of a container "
                "can, at one time: these tests can't run side by side in one process"
            )
        binding.everywhere = frame
        if frame.closed:  # whoever closed it looks here afterwards: one of the two sees it
            binding.everywhere = None
            frame.check()


def _warn_of_test_mode(runtime: Runtime) -> None:
    if "pytest" in sys.modules:
        return
    message = (
        f"TEST_MODE={runtime.test_mode} decides the adapter of {runtime.name} ({runtime.adapter.name}), and no test "
        "is running. Unset it, or set BRIDGE_FORBID_TEST_MODE=1 to make this an error"
    )
    log.warning("%s", message)
    warnings.warn(message, RuntimeWarning, stacklevel=6)
