"""The scopes that one test asks for by its markers and fixtures.

Rules: the marker that is closest to the function is the innermost, as with decorators; only the innermost starts
workers at entry, since the others are hidden by it. Apart from the plugin, which imports this only for a test that uses
us: from here on pydantic is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.assembly import assemble, capabilities_of
from bridge.binding import Binding, start
from bridge.contract import Capability
from bridge.errors import ConfigurationError
from bridge.overrides import plan_of_adapter, with_settings, with_test_mode
from bridge.registry import find
from bridge.runtime.calls import reset_workers
from bridge.schema import BridgeSettings
from bridge.scope import Scope

if TYPE_CHECKING:
    from bridge.pytest_plugin import Run
    from bridge.runtime import Runtime

SCOPING = ("bridge_adapter", "bridge_test_mode")


class TestScopes:
    """What a test is put into."""

    __test__ = False

    def __init__(self, item: pytest.Function, run: Run) -> None:
        self._item, self._run = item, run
        self.entered: list[Scope] = []
        self.leaves_with_its_test = False
        self._lent: list[Runtime] = []
        self._mock: Any = None

    @property
    def mock(self) -> Any:
        """The adapter of the fixture bridge_mock_adapter."""
        return self._mock

    @property
    def innermost(self) -> Scope:
        """What spawns for the test."""
        return self.entered[-1]

    def enter(self) -> None:
        """Enter them all; skip the test where the adapter can't do what it requires."""
        wanted = [mark for mark in self._item.iter_markers() if mark.name in SCOPING][::-1]
        mocked = "bridge_mock_adapter" in self._item.fixturenames
        for number, mark in enumerate(wanted, 1):
            self._enter(self._scope(mark, warm=number == len(wanted) and not mocked))
        if mocked:
            self._mock = self._mock or find("mock")()
            self._enter(Scope(plan_of_adapter(self._mock)))
        if not self.entered and "bridge_scope" in self._item.fixturenames:
            self._enter(with_settings())
        for mark in self._item.iter_markers("bridge_requires"):
            self._require(mark.args)

    def leave(self) -> None:
        """Leave them all, the innermost first; workers that tests share run the handler's `on_reset`."""
        try:
            while self.entered:
                self.entered.pop().__exit__(None, None, None)
        finally:
            while self._lent:
                reset_workers(self._lent.pop())

    def _enter(self, scope: Scope) -> None:
        scope.__enter__()
        self.entered.append(scope)

    def _scope(self, mark: pytest.Mark, *, warm: bool) -> Scope:
        if mark.name == "bridge_test_mode":
            return with_test_mode(*mark.args, **mark.kwargs)
        options = dict(mark.kwargs)
        share = options.pop("share", None)
        if len(mark.args) != 1:
            raise ConfigurationError("bridge_adapter takes one adapter, and options by name")
        cassettes = self._item.config.getoption("bridge_cassettes")
        if mark.args[0] == "recording" and cassettes is not None:
            options["mode"] = cassettes
        if share is None:
            return Scope(plan_of_adapter(mark.args[0], warm=warm, **options))
        if share not in ("module", "session") or not options.get("handler") or "container" in options:
            raise ConfigurationError(
                f"share={share!r}: share is 'module' or 'session', and needs handler= (and no container=): what is "
                "shared answers for all containers of that handler"
            )
        lent = self._shared(share, mark.args[0], options)
        self._lent.append(lent)
        return Scope(plan_of_adapter(mark.args[0], lent=lent, **options))

    def _shared(self, share: str, adapter: Any, options: dict[str, Any]) -> Runtime:
        place = self._item.session if share == "session" else self._item.getparent(pytest.Module)
        # By what was asked for: equal markers share, whatever order their options are in.
        key = (place, (adapter if isinstance(adapter, str) else id(adapter), repr(sorted(options.items()))))
        runtime = self._run.shared.get(key)
        if runtime is None:
            plan = plan_of_adapter(adapter, **options)
            assert plan.choice is not None
            values = plan.applied_to(BridgeSettings())
            choice = plan.choice_for(values)
            assert choice is not None
            runtime = self._run.shared[key] = assemble(values, choice)
            if self._run.guard is not None:
                self._run.guard.allow_what_is_open()
        start(runtime)
        return runtime

    def _require(self, names: tuple[Any, ...]) -> None:
        known = {capability.value: capability for capability in Capability}
        for name in names:
            if getattr(name, "value", name) not in known:
                raise ConfigurationError(f"bridge_requires: {name!r} is no capability; there are {', '.join(known)}")
        binding = Binding(BridgeSettings.load)
        choice = binding.choice()
        able = {capability.value for capability in capabilities_of(choice, binding.settings())}
        missing = sorted({str(getattr(name, "value", name)) for name in names} - able)
        if missing:
            raise pytest.skip.Exception(f"the adapter {choice.label} has no {', '.join(missing)}")
