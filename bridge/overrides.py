"""with_adapter, with_settings, with_test_mode: what a scope is made of.

Rules: whatever is wrong with the arguments is told when they are given; nothing is started before the scope is entered;
what entry can know is started and warm before the body runs. Apart from scope.py, which opens and closes frames and
knows nothing of adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.assembly import Choice, assemble, choice_of
from bridge.binding import Binding, claim_everywhere, plans_of, start
from bridge.contract import Adapter
from bridge.errors import ConfigurationError
from bridge.frames import Frame
from bridge.plan import Entry, ScopePlan
from bridge.runtime import Runtime
from bridge.schema import BridgeSettings, closest, sort_keywords
from bridge.scope import Scope
from bridge.settings import TestMode


def with_adapter(
    adapter: str | Adapter | type[Adapter] | Callable[[], Adapter],
    /,
    *,
    container: Any = None,
    everywhere: bool = False,
    **options: Any,
) -> Scope:
    """A scope in which every bridge, or one container's, runs on this adapter.

    Args:
        adapter: A name, a class or a factory, made anew for this scope and closed with it; or an instance, shared by
            all and never closed by us.
        container: The one that it is for; it is started and warm before the body runs. None is all of them; those are
            started at their first use, unless `handler=` is among the options.
        everywhere: Answers threads without a scope too, such as a server's own; with `container=` only.
        options: Settings by their names, as for `bridge.connect`; what is no setting goes to the adapter's constructor.

    Raises:
        ConfigurationError: An adapter, setting or container that can't be used.
        TypeError: A keyword is neither a setting nor an option of the adapter.
    """
    return Scope(plan_of_adapter(adapter, container=container, everywhere=everywhere, **options))


def plan_of_adapter(
    adapter: Any,
    /,
    *,
    container: Any = None,
    everywhere: bool = False,
    lent: Runtime | None = None,
    warm: bool = True,
    **options: Any,
) -> ScopePlan:
    """What `with_adapter` enters.

    Args:
        warm: Whether entry starts what it can know.
        lent: A runtime of somebody else's that answers for every container, and isn't closed with the scope.
    """
    tree, rest = sort_keywords(options)
    choice = choice_of(adapter, {**tree.pop("adapter_options", {}), **rest})
    if "adapter" in tree:
        raise ConfigurationError("with_adapter takes the adapter as its first argument, not by name")
    return _plan(f"with_adapter({choice.label})", container, tree, choice, everywhere=everywhere, lent=lent, warm=warm)


def with_settings(settings: BridgeSettings | None = None, /, *, container: Any = None, **changes: Any) -> Scope:
    """A scope in which settings are changed: merged over those outside, and validated.

    Args:
        settings: In place of all settings outside; `changes` are merged over them.
        container: The one that it is for; it is started and warm before the body runs. None is all of them.
        changes: By the names of the settings, as for `bridge.connect`.

    Raises:
        ConfigurationError: A value can't be used.
        TypeError: There is no such setting.
    """
    tree, rest = sort_keywords(changes)
    for name in rest:
        raise TypeError(f"{name!r} is no setting{closest(name)}")
    if settings is not None and not isinstance(settings, BridgeSettings):
        raise ConfigurationError(f"with_settings takes a BridgeSettings or keywords, not {settings!r:.60}")
    named = {} if settings is None else settings.model_dump(include={"adapter", "test_mode"}, exclude_unset=True)
    named |= {name: tree.pop(name) for name in ("adapter", "test_mode") if name in tree}
    choice: Choice | TestMode | None = None
    if named.get("test_mode") is not None:
        choice = TestMode.of(named["test_mode"])
    elif named.get("adapter") is not None:
        choice = choice_of(named["adapter"], tree.pop("adapter_options", {}))
    return Scope(_plan("with_settings(...)", container, tree, choice, settings=settings))


def with_test_mode(mode: TestMode | str, /, *, container: Any = None) -> Scope:
    """A scope in which the adapter is what a test mode stands for, given the settings.

    Args:
        mode: mock_adapter, bridge_mock or full_integration.
        container: The one that it is for. None is all of them.

    Raises:
        ConfigurationError: There is no such mode; lists the three.
    """
    mode = TestMode.of(mode)
    return Scope(_plan(f"with_test_mode({mode.value!r})", container, {}, mode))


def binding_of(container: Any) -> Binding:
    """The binding of a container, or of a `providers.Container` inside another one.

    Raises:
        ConfigurationError: It isn't a container of ours.
    """
    provider = getattr(container, "binding", None)  # a providers.Container hands its attributes on
    binding = getattr(provider, "binding", None)
    if not isinstance(binding, Binding):
        raise ConfigurationError(
            f"container= takes a BridgeContainer, or the providers.Container of one, not {container!r:.80}"
        )
    return binding


def _plan(
    label: str,
    container: Any,
    tree: Mapping[str, Any],
    choice: Choice | TestMode | None,
    *,
    settings: BridgeSettings | None = None,
    everywhere: bool = False,
    lent: Runtime | None = None,
    warm: bool = True,
) -> ScopePlan:
    if everywhere and container is None:
        raise ConfigurationError("everywhere=True needs container=: it answers threads that only that container knows")
    BridgeSettings().with_changes(tree)  # what is out of its range is told here, not at the first call inside
    binding = None if container is None else binding_of(container)
    plan = ScopePlan(
        label, binding, choice, settings, tree, _entry(everywhere, lent, warm), _leave if everywhere else None
    )
    if isinstance(choice, Choice) and choice.is_instance:
        plan.check_for_instance(choice)
    return plan


def _entry(everywhere: bool, lent: Runtime | None, warm: bool) -> Entry:
    def enter(plan: ScopePlan, frame: Frame) -> None:
        if everywhere:
            assert plan.key is not None
            claim_everywhere(plan.key, frame)
        if lent is not None:
            frame.shared = lent
        elif warm and plan.key is not None:
            start(plan.key.build_in(frame))
        elif warm and plan.handler is not None and isinstance(plan.choice, Choice):
            start(_shared(frame, plan.choice))

    return enter


def _shared(frame: Frame, choice: Choice) -> Runtime:
    """The runtime that answers for every container in a frame whose handler is known."""
    values = BridgeSettings()
    for plan in reversed(plans_of(frame)):
        if plan.key is None:
            values = plan.applied_to(values)
    runtime = assemble(values, choice)
    frame.own(runtime)
    frame.shared = runtime
    return runtime


def _leave(plan: ScopePlan, frame: Frame) -> None:
    if plan.key is not None and plan.key.everywhere is frame:
        plan.key.everywhere = None
