"""What the parts of AdapterContract share: a bridge over a new adapter, and the error that a call ends in.

Rules: those of adapter_contract.py. Apart from it because each part needs this, and not the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from bridge.client import Bridge
from bridge.contract import Adapter, Capability, WorkerSpec
from bridge.core.sessions import SessionPolicy
from bridge.door import Fixed
from bridge.runtime import Runtime
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.testing import contract_handler

E = TypeVar("E", bound=BaseException)


def raised(kind: type[E], function: Callable[..., Any], *args: Any, **kwargs: Any) -> E:
    """The error that a call ends in; it is an AssertionError if it ends in none."""
    try:
        value = function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected, but it returned {value!r:.200}")


class ContractBase:
    """What each part of the suite inherits."""

    def make_adapter(self) -> Adapter:
        """A new adapter, to be tested and then closed."""
        raise NotImplementedError("override make_adapter: it returns a new instance of the adapter to be tested")

    def make_spec(self, **changes: Any) -> WorkerSpec:
        """What its workers serve: the contract's handler, in the caller's interpreter."""
        handler = f"{contract_handler.__file__}:ContractHandler"
        values = {"handler": handler, "fake": handler, "path": tuple(sys.path), "replace_path": True, **changes}
        return WorkerSpec(**values)

    @contextmanager
    def opened(
        self,
        size: int = 1,
        *,
        checkout_timeout: float = 30.0,
        startup_timeout: float = 30.0,
        options: Mapping[str, Any] = MappingProxyType({}),
        sessions: SessionPolicy | None = None,
        **spec: Any,
    ) -> Iterator[tuple[Bridge, Runtime]]:
        """A warm bridge over a new adapter, and what is inside it."""
        runtime = Runtime(
            self.make_adapter(),
            self.make_spec(options=options, **spec),
            session_policy=sessions,
            pool_policy=PoolPolicy(size, checkout_timeout=checkout_timeout),
            supervisor_policy=SupervisorPolicy(startup_timeout=startup_timeout, max_restarts=0),
        )
        with Bridge(Fixed(runtime)) as bridge:
            yield bridge, runtime

    def _can(self, capability: Capability) -> bool:
        adapter = self.make_adapter()
        adapter.close()
        return capability in adapter.capabilities
