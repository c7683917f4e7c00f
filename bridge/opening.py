"""connect: a bridge in one line, without a container.

Rules: keywords are sorted and checked here, before anything is made. Apart from container.py, since this needs no
dependency-injector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from bridge.assembly import Choice, check_options, choice_of, listener_of
from bridge.binding import Binding
from bridge.client import Bridge
from bridge.contract import Adapter
from bridge.core.events import Event
from bridge.errors import ConfigurationError
from bridge.plan import FOR_AN_INSTANCE
from bridge.runtime.watching import Call, on_call_of
from bridge.schema import BridgeSettings, sort_keywords


def connect(
    handler: str,
    /,
    *,
    size: int | None = None,
    adapter: str | Adapter | type[Adapter] | None = None,
    python: str | None = None,
    launcher: str | Sequence[str] | None = None,
    on_event: Callable[[Event], object] | None = None,
    on_call: Callable[[Call], AbstractContextManager[object]] | None = None,
    **settings: Any,
) -> Bridge:
    """Open a bridge to a handler.

    It is usable at once: the first call starts its workers. `with` starts and warms them now, and closes them at
    its end. Without `adapter=` it obeys the scope of whoever calls it, and TEST_MODE.

    Args:
        handler: "pkg.mod:Class", "pkg.mod" or "path/to/file.py:Class".
        size: Workers; 4 if nothing says otherwise.
        adapter: A name, a class or factory, or an instance, which is not closed with the bridge.
        python: The workers' interpreter: a path or "venv:PATH"; the caller's own if not set.
        launcher: What starts its workers somewhere else, with their stdin and stdout connected, such as "ssh host": a
            text that is split as in a shell, or a list. What is said of the interpreter is then meant there.
        on_event: Is called with each `Event` of the bridge, also of those that scopes put in its place, in a thread of
            its own; it may block or raise without harm to the bridge. Each has its queue of 1,000; what doesn't fit is
            dropped, and counted in `stats().events_dropped`.
        on_call: Is called with each `Call`, where that is made, and returns a context manager that is entered when the
            call begins and left at its end, to make a span of it.
        settings: Any other setting by its leaf name, or a group by a mapping; what is no setting goes to the
            constructor of a named adapter. Arguments win over the environment (BRIDGE_*), that over the defaults.

    Raises:
        ConfigurationError: A value can't be used; nothing was started.
        TypeError: A keyword is neither a setting nor an option of the adapter.
    """
    if not isinstance(handler, str) or not handler:
        raise ConfigurationError(f"a handler is named by a text such as 'pkg.mod:Class', not {handler!r:.60}")
    if "handler" in settings:
        raise ConfigurationError("worker.handler is given twice: as the first argument, and by name; leave one out")
    named = {"size": size, "python": python, "launcher": launcher}
    given = {"handler": handler} | {name: value for name, value in named.items() if value is not None} | settings
    tree, rest = sort_keywords(given)
    values = BridgeSettings.load().with_changes(tree)
    listener, watcher = listener_of(on_event), on_call_of(on_call)
    if adapter is None:
        choice = Choice(values.adapter, rest)
        check_options(choice)
        # Options are for the adapter that is configured, not for one that a scope or TEST_MODE puts in its place.
        configured = choice if rest and values.test_mode is None else None
        binding = Binding(lambda: values, lambda: configured, listener=lambda: listener, on_call=lambda: watcher)
    else:
        choice = choice_of(adapter, rest)
        beyond = sorted(tree.keys() - FOR_AN_INSTANCE - {"name", "worker"}) if choice.is_instance else []
        if beyond:
            known = ", ".join(sorted(FOR_AN_INSTANCE))
            raise ConfigurationError(
                f"{', '.join(beyond)} can't change for an adapter that exists already; only {known} can. Give the "
                "adapter's class or name instead of an instance"
            )
        binding = Binding(
            lambda: values, lambda: choice, scoped=False, listener=lambda: listener, on_call=lambda: watcher
        )
    binding.runtime()  # what can't be built is told now, not at the first call
    return Bridge(binding)
