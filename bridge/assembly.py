"""From settings to a runtime: the one place where values become objects.

Rules: everything that depends on this process (its interpreter, its sys.path, its limits) is read here, once, and
travels on as a frozen value. Apart from settings.py, which knows what is legal, and from the facades, which use it.
"""

from __future__ import annotations

import inspect
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from bridge import registry
from bridge.client import Bridge
from bridge.contract import Adapter, Capability, WorkerSpec
from bridge.errors import ConfigurationError
from bridge.runtime import Runtime
from bridge.runtime.pool import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.settings import BridgeSettings, closest, sort_keywords
from bridge.worker import NotEncodable, encode_json

FDS_PER_WORKER: Final = 4
FDS_BESIDES: Final = 64


def connect(
    handler: str,
    /,
    *,
    size: int | None = None,
    adapter: str | Adapter | None = None,
    python: str | None = None,
    **settings: Any,
) -> Bridge:
    """Open a bridge to a handler.

    It is usable at once: the first call starts its workers. `with` starts and warms them now, and closes them at
    its end.

    Args:
        handler: "pkg.mod:Class", "pkg.mod" or "path/to/file.py:Class".
        size: Workers; 4 if nothing says otherwise.
        adapter: A name, or an instance, which is not closed with the bridge.
        python: The workers' interpreter: a path or "venv:PATH"; the caller's own if not set.
        settings: Any other setting by its leaf name, or a group by a mapping; what is no setting goes to the
            constructor of a named adapter. Arguments win over the environment (BRIDGE_*), that over the defaults.

    Raises:
        ConfigurationError: A value can't be used; nothing was started.
        TypeError: A keyword is neither a setting nor an option of the adapter.
    """
    if not isinstance(handler, str) or not handler:
        raise ConfigurationError(f"a handler is named by a text such as 'pkg.mod:Class', not {handler!r:.60}")
    named = {"size": size, "python": python, "adapter": adapter if isinstance(adapter, str) else None}
    given = {"handler": handler} | {name: value for name, value in named.items() if value is not None} | settings
    tree, rest = sort_keywords(given)
    values = BridgeSettings.load().with_changes(tree)
    instance = None if adapter is None or isinstance(adapter, str) else adapter
    return Bridge(assemble(values, instance, rest), prewarm=values.pool.prewarm)


def assemble(
    values: BridgeSettings, instance: Adapter | None = None, options: Mapping[str, Any] | None = None
) -> Runtime:
    """A runtime that isn't started yet.

    Args:
        instance: Used in place of the adapter that the settings name.
        options: For the constructor of the named adapter, beside `adapter_options`.
    """
    try:
        spec = _spec(values)
    except FileNotFoundError:
        raise ConfigurationError("the current directory was removed; go to another one") from None
    own = getattr(instance, "spec", None)
    if isinstance(own, WorkerSpec):
        if own.handler != spec.handler:
            raise ConfigurationError(f"the adapter was made for {own.handler!r}, not for {spec.handler!r}")
        spec = replace(own, name=spec.name)
    if instance is None:
        adapter = _adapter(values.adapter, values.adapter_options, options or {})
    elif options:
        name = next(iter(options))
        raise TypeError(f"{name!r} is no setting{closest(name)} (options of an adapter go to its own constructor)")
    else:
        adapter = instance
    pool, supervisor = values.pool, values.supervisor
    if Capability.PROCESSES in adapter.capabilities:
        _check_limits(pool.size + pool.max_overflow)
    return Runtime(
        adapter,
        spec,
        owns_adapter=instance is None,
        call_timeout=values.call.timeout,
        pool_policy=PoolPolicy(
            size=pool.size,
            max_overflow=pool.max_overflow,
            checkout_timeout=pool.checkout_timeout,
            max_waiting=pool.max_waiting,
        ),
        supervisor_policy=SupervisorPolicy(
            startup_timeout=supervisor.startup_timeout,
            shutdown_timeout=supervisor.shutdown_timeout,
            max_restarts=supervisor.max_restarts,
            restart_window=supervisor.restart_window,
            backoff=supervisor.backoff,
            max_idle=values.recycle.max_idle,
        ),
    )


def _adapter(name: str, configured: Mapping[str, Any], keywords: Mapping[str, Any]) -> Adapter:
    factory = registry.find(name)
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in () if takes_any else keywords:
        if option not in parameters:
            raise TypeError(f"{option!r} is neither a setting{closest(option)} nor an option of the adapter {name!r}")
    for option in () if takes_any else configured:
        if option not in parameters:
            raise ConfigurationError(f"adapter_options: the adapter {name!r} has no option {option!r}")
    adapter: Adapter = factory(**{**configured, **keywords})
    return adapter


def _spec(values: BridgeSettings) -> WorkerSpec:
    worker = values.worker
    if not worker.handler:
        raise ConfigurationError("no handler is set: name one, as in bridge.connect('myapp.worker:Handler')")
    python = _interpreter(worker.python)
    own = python is None or os.path.abspath(python) == os.path.abspath(sys.executable or "")
    if python is None and not sys.executable:
        raise ConfigurationError("this process doesn't know its own interpreter (it is embedded): set worker.python")
    path = tuple(os.path.abspath(entry) for entry in worker.path)
    if own:
        path += tuple(entry or os.getcwd() for entry in sys.path)
    try:
        encode_json(worker.options, "worker.options")
    except NotEncodable as fault:
        raise ConfigurationError(str(fault)) from None
    return WorkerSpec(
        handler=_absolute(worker.handler),
        options=MappingProxyType(dict(worker.options)),
        python=python,
        path=path,
        replace_path=own,
        cwd=worker.cwd,
        env=MappingProxyType(dict(worker.env)),
        max_frame_bytes=worker.max_frame_bytes,
        name=values.name or worker.handler,
    )


def _interpreter(python: str | None) -> str | None:
    if python is not None and python.startswith("venv:"):
        return os.path.join(os.path.expanduser(python[len("venv:") :]), "bin", "python")
    return python


def _absolute(handler: str) -> str:
    """A handler in a file, by its full path: the worker may have another working directory."""
    name, colon, attribute = handler.partition(":")
    if not name.endswith(".py"):
        if os.sep in name:
            raise ConfigurationError(f"handler {handler!r}: a file is named as path/to/file.py:Class")
        return handler
    file = os.path.abspath(os.path.expanduser(name))
    if not os.path.isfile(file):
        raise ConfigurationError(f"handler {handler!r}: there is no file {file}")
    return file + colon + attribute


def _check_limits(workers: int) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers * FDS_PER_WORKER + FDS_BESIDES
    if soft != resource.RLIM_INFINITY and needed > soft:
        raise ConfigurationError(
            f"{workers} workers (size + max_overflow) need {needed} file descriptors, but RLIMIT_NOFILE is {soft}: "
            "lower `size`, or raise the limit (ulimit -n)"
        )
