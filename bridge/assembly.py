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
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from bridge import registry
from bridge.contract import Adapter, Capability, WorkerSpec
from bridge.core.hosts import Host
from bridge.core.limits import fault_of
from bridge.core.recycling import RecyclePolicy
from bridge.core.sessions import SessionPolicy
from bridge.errors import CapabilityError, ConfigurationError
from bridge.placement import cargo_of, check_launched
from bridge.runtime import Runtime
from bridge.runtime.courier import Listener
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.runtime.watching import OnCall
from bridge.schema import BridgeSettings, closest
from bridge.settings import Codec, StartMethod, TestMode
from bridge.wire import NotEncodable, encode_json

MOCKS: Final = frozenset({"mock", "bridge_mock"})
"""Adapters that full_integration never means."""
FDS_PER_WORKER: Final = 6
FDS_BESIDES: Final = 64


@dataclass(frozen=True)
class Choice:
    """Which adapter: what somebody asked for, before it is made."""

    source: Any
    """A name, an adapter (shared by all, never closed by us), or a class or function that makes one."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Keywords for its constructor."""
    test_mode: TestMode | None = None
    """Set when the environment's TEST_MODE asked for it."""

    @property
    def is_instance(self) -> bool:
        """Whether the adapter exists already."""
        return not isinstance(self.source, (str, type)) and hasattr(self.source, "capabilities")

    @property
    def label(self) -> str:
        """As a person names it."""
        if self.is_instance:
            return f"{type(self.source).__name__}(...)"
        return repr(self.source) if isinstance(self.source, str) else str(getattr(self.source, "__name__", self.source))


def choice_of(adapter: Any, options: Mapping[str, Any]) -> Choice:
    """What was handed in as an adapter, checked.

    Raises:
        ConfigurationError: It is none; it has no such name.
        TypeError: An option that its constructor doesn't have.
    """
    choice = Choice(adapter, MappingProxyType(dict(options)))
    if not (isinstance(adapter, str) or choice.is_instance or callable(adapter)):
        raise ConfigurationError(f"an adapter is a name, an instance, a class or a factory, not {adapter!r:.60}")
    check_options(choice)
    return choice


def check_options(choice: Choice) -> None:
    """Raise TypeError for an option that the adapter's constructor doesn't have."""
    if choice.is_instance:
        for name in choice.options:
            raise TypeError(f"{name!r} is no setting{closest(name)} (options of an adapter go to its own constructor)")
        return
    parameters = _parameters(choice)
    for name in choice.options:
        if parameters is not None and name not in parameters:
            whose = f"the adapter {choice.label}"
            raise TypeError(f"{name!r} is neither a setting nor an option of {whose}{closest(name)}")


def of_mode(mode: TestMode, values: BridgeSettings) -> Choice:
    """The adapter that a test mode stands for, given the settings."""
    if mode is TestMode.MOCK_ADAPTER:
        return Choice("mock")
    if mode is TestMode.BRIDGE_MOCK:
        return Choice("bridge_mock")
    return Choice("python_port" if values.adapter in MOCKS else values.adapter)


def capabilities_of(choice: Choice, values: BridgeSettings) -> frozenset[Capability]:
    """What every channel of an adapter can do where the settings put its workers; without making it when its class
    says so."""
    able: frozenset[Capability] = _able(choice).capabilities
    return able.difference(lacking_of(choice, values))


def lacking_of(choice: Choice, values: BridgeSettings) -> Mapping[Capability, str]:
    """What the channels can't do of what the adapter can, since some workers are where that isn't possible: with the
    reason, and what there is instead."""
    source = _able(choice)
    if not hasattr(source, "lacks"):
        return {}
    own = getattr(source, "spec", None)
    launchers = [tuple(values.worker.launcher), *(host.launcher for host in values.pool.hosts)]
    specs = [own] if isinstance(own, WorkerSpec) else [WorkerSpec("", launcher=each) for each in launchers]
    return {capability: why for spec in specs for capability, why in source.lacks(spec).items()}


def _able(choice: Choice) -> Any:
    """Who says what an adapter can do: itself, or its class, if all of that can do the same."""
    source = choice.source if choice.is_instance else _factory(choice)
    return source if isinstance(getattr(source, "capabilities", None), frozenset) else source(**choice.options)


def listener_of(given: Any) -> Listener | None:
    """What was handed in as `on_event`, checked.

    Raises:
        ConfigurationError: It can't be called, or only awaited.
    """
    if given is not None and (not callable(given) or inspect.iscoroutinefunction(given)):
        raise ConfigurationError(
            f"on_event takes a plain function of one bridge.Event, called in a thread of its own, not {given!r:.60}"
        )
    found: Listener | None = given
    return found


def assemble(
    values: BridgeSettings, choice: Choice, on_event: Listener | None = None, on_call: OnCall | None = None
) -> Runtime:
    """A runtime that isn't started yet.

    Raises:
        ConfigurationError: A value can't be used; nothing was started.
    """
    try:
        spec = _spec(values)
    except FileNotFoundError:
        raise ConfigurationError("the current directory was removed; go to another one") from None
    adapter = _adapter(values, choice)
    own = getattr(adapter, "spec", None)
    if isinstance(own, WorkerSpec):
        if values.worker.handler and own.handler != spec.handler:
            raise ConfigurationError(
                f"the adapter was made for {own.handler!r}, not for {spec.handler!r}: name that handler, or give the "
                "adapter's class or name instead of this instance"
            )
        spec = replace(own, name=values.name or own.handler, busy_poll_us=values.call.busy_poll_us)
    check_launched(spec, values.recycle.max_rss)
    if spec.pickle is not None and Capability.PICKLE not in adapter.capabilities:
        raise CapabilityError(f"the adapter {adapter.name} can't carry pickles (worker.codec); python_port can")
    pool, supervisor = values.pool, values.supervisor
    if Capability.PROCESSES in adapter.capabilities:
        _check_descriptors(values)
        # What is there to be had behind a launcher is known there alone.
        fault = fault_of(
            spec.limits,
            lambda n: resource.RLIM_INFINITY if spec.launcher or spec.elsewhere else resource.getrlimit(n)[1],
        )
        if fault is not None:
            raise ConfigurationError(fault)
    return Runtime(
        adapter,
        spec,
        owns_adapter=not choice.is_instance,
        call_timeout=values.call.timeout,
        prewarm=pool.workers if pool.prewarm is None else min(pool.workers, pool.prewarm),
        test_mode=None if choice.test_mode is None else choice.test_mode.value,
        on_event=on_event,
        status_path=None if values.status_socket is None else os.path.abspath(os.path.expanduser(values.status_socket)),
        on_call=on_call,
        pool_policy=PoolPolicy(
            size=pool.workers,
            max_overflow=pool.max_overflow,
            spare=pool.spare,
            checkout_timeout=pool.checkout_timeout,
            max_waiting=pool.max_waiting,
            poison_threshold=values.call.poison_threshold,
            queue_target=pool.queue_target,
            queue_interval=pool.queue_interval,
            hosts=tuple(Host(host.label, host.size, host.launcher) for host in pool.hosts),
        ),
        session_policy=SessionPolicy(**values.session.model_dump()),
        supervisor_policy=SupervisorPolicy(
            startup_timeout=supervisor.startup_timeout,
            shutdown_timeout=supervisor.shutdown_timeout,
            max_restarts=supervisor.max_restarts,
            restart_window=supervisor.restart_window,
            backoff=supervisor.backoff,
            max_idle=values.recycle.max_idle,
            cancel_grace=values.call.cancel_grace,
            health_interval=supervisor.health_interval,
        ),
        recycle_policy=RecyclePolicy(
            values.recycle.max_calls, values.recycle.max_lifetime, values.recycle.max_rss, values.recycle.jitter
        ),
    )


def _adapter(values: BridgeSettings, choice: Choice) -> Adapter:
    if choice.is_instance:
        found: Adapter = choice.source
        return found
    options = dict(choice.options)
    if choice.source == values.adapter:  # the settings' options are for the adapter that they name
        parameters = _parameters(choice)
        for option in values.adapter_options:
            if parameters is not None and option not in parameters:
                known = ", ".join(sorted(parameters)) or "none"
                raise ConfigurationError(
                    f"adapter_options: the adapter {choice.label} has no option {option!r}; it has: {known}"
                )
        options = {**values.adapter_options, **options}
    try:
        made: Adapter = _factory(choice)(**options)
    except TypeError:
        if missing := _missing(choice, options):
            raise ConfigurationError(
                f"the adapter {choice.label} needs the option {missing!r}: adapter_options={{{missing!r}: ...}} in "
                f"the settings, or with_adapter(..., {missing}=...)"
            ) from None
        raise
    if not hasattr(made, "capabilities"):
        raise ConfigurationError(
            f"{choice.label} made {made!r:.60}, which is no adapter: it has no capabilities. It has to return one "
            "(bridge.Adapter)"
        )
    return made


def _factory(choice: Choice) -> Any:
    return registry.find(choice.source) if isinstance(choice.source, str) else choice.source


def _missing(choice: Choice, options: Mapping[str, Any]) -> str | None:
    """The first option that its constructor can't do without, and isn't given."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in (_parameters(choice) or {}).items():
        if parameter.default is parameter.empty and parameter.kind in named and name not in options:
            return name
    return None


def _parameters(choice: Choice) -> Mapping[str, inspect.Parameter] | None:
    """The options that its constructor has; None when it takes any, or doesn't say."""
    factory = _factory(choice)
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a provider, or compiled
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return parameters


def _spec(values: BridgeSettings, *, launched: bool | None = None) -> WorkerSpec:
    """Of a worker as `worker.launcher` says; or of one behind the launcher of a host, or of none."""
    worker = values.worker
    if launched is None:
        if any(host.launcher for host in values.pool.hosts):
            return replace(_spec(values, launched=False), elsewhere=_spec(values, launched=True))
        launched = bool(worker.launcher)
    python = _interpreter(worker.python, there=launched)
    own = not launched and (python is None or os.path.abspath(python) == os.path.abspath(sys.executable or ""))
    if python is None and not sys.executable:
        raise ConfigurationError("this process doesn't know its own interpreter (it is embedded): set worker.python")
    path = worker.path if launched else tuple(os.path.abspath(entry) for entry in worker.path)
    if own:
        path += tuple(entry or os.getcwd() for entry in _search_path())
    try:
        encode_json(worker.options, "worker.options")
    except NotEncodable as fault:
        raise ConfigurationError(str(fault)) from None
    return WorkerSpec(
        handler=absolute(worker.handler, elsewhere=launched) if worker.handler else "",
        fake=absolute(worker.fake) if worker.fake else None,
        options=MappingProxyType(dict(worker.options)),
        python=python,
        launcher=tuple(worker.launcher),
        cargo=cargo_of(worker.ship, [*worker.path, *_search_path()]) if launched else None,
        path=path,
        replace_path=own,
        cwd=worker.cwd,
        env=MappingProxyType(dict(worker.env)),
        env_allow=worker.env_allow,
        umask=worker.umask,
        limits=MappingProxyType(worker.limits.model_dump(exclude_defaults=True)),
        pickle=None if worker.codec is Codec.JSON else _program(own=own),
        max_frame_bytes=worker.max_frame_bytes,
        propagate=worker.propagate,
        start_method=worker.start_method.value,
        busy_poll_us=values.call.busy_poll_us,
        name=values.name or worker.handler or "bridge",
    )


def _program(*, own: bool) -> Mapping[str, str]:
    from bridge.pickling import program  # not above: most bridges don't need pickle

    try:
        return program() if own else {}
    except RuntimeError as error:
        raise ConfigurationError(str(error)) from None


def _search_path() -> list[str]:
    """This process's sys.path. Whatever the import system itself passes over there can't reach a worker either."""
    entries = [os.fspath(entry) for entry in sys.path if isinstance(entry, (str, os.PathLike))]
    return [entry for entry in entries if isinstance(entry, str)]


def _interpreter(python: str | None, *, there: bool) -> str | None:
    """A path is made absolute: the worker may have another working directory, and so may we at its restart.

    Args:
        there: It is one behind a launcher, and left as it is.
    """
    if python is None:
        return None
    if python.startswith("venv:"):
        folder = python[len("venv:") :]
        python = os.path.join(folder if there else os.path.expanduser(folder), "bin", "python")
    if there:
        return python
    return os.path.abspath(python) if os.sep in python else python


def absolute(handler: str, *, elsewhere: bool = False) -> str:
    """A handler in a file, by its full path: the worker may have another working directory.

    Args:
        elsewhere: A file that isn't here may be there.
    """
    name, colon, attribute = handler.partition(":")
    if not name.endswith(".py"):
        if os.sep in name:
            raise ConfigurationError(f"handler {handler!r}: a file is named as path/to/file.py:Class")
        return handler
    file = os.path.abspath(os.path.expanduser(name))
    if not os.path.isfile(file):
        if elsewhere:
            return handler
        raise ConfigurationError(f"handler {handler!r}: there is no file {file}")
    return file + colon + attribute


def descriptors_for(values: BridgeSettings) -> int:
    """File descriptors that this process needs for all workers, and besides."""
    each = FDS_PER_WORKER + (values.worker.start_method is StartMethod.ZYGOTE)  # to hear when it comes
    return values.pool.most * each + FDS_BESIDES


def _check_descriptors(values: BridgeSettings) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = descriptors_for(values)
    if soft != resource.RLIM_INFINITY and needed > soft:
        raise ConfigurationError(
            f"{values.pool.most} workers (size + max_overflow + spare) need {needed} file descriptors, but "
            f"RLIMIT_NOFILE is {soft}: lower `size`, or raise the limit (ulimit -n)"
        )
