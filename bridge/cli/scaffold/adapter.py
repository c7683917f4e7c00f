"""What `new-adapter` writes.

Rules: those of handler.py. Apart from it because an adapter's author reads another contract than a handler's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ADAPTER: Final = '''\
"""The adapter $module: how workers come to be, for scoped-bridge.

It starts each worker as `python_port` does, and tells it which one it is. Change `open`, where all that was decided for
a worker comes by: its launcher, interpreter, environment, limits. An adapter that shares nothing with ours implements
the protocols bridge.Adapter and bridge.Channel; the tests beside it stay the same.
"""

from dataclasses import replace

import bridge


class ${Class}Adapter(bridge.PythonPortAdapter):
    """Opens channels to workers that know their number.

    Args:
        spec: What it is for, when an instance is handed to `connect`.
        variable: Of the worker's environment, which has the number. (Options come from `adapter_options`.)
    """

    name = "$module"

    def __init__(self, spec=None, *, variable="${CAPITALS}_WORKER"):
        super().__init__(spec)
        self._variable = variable

    def open(self, spec, *, deadline):
        """Start one worker; it need not be ready yet. Raises bridge.WorkerStartError if nothing was started."""
        env = {**spec.env, self._variable: str(spec.generation)}
        return super().open(replace(spec, env=env), deadline=deadline)
'''

TESTS: Final = '''\
"""The adapter $module: it behaves as the pool expects, and does what it is there for."""

import bridge
from bridge.testing import AdapterContract
from $dotted import ${Class}Adapter


class Test$Class(AdapterContract):
    """Every promise of the contract, on workers that really run. What `capabilities` leaves out isn't asked for."""

    def make_adapter(self):
        return ${Class}Adapter()


def test_a_worker_knows_its_number():
    """`os` is the handler here: its functions are the commands."""
    with bridge.connect("os", size=1, adapter=${Class}Adapter, variable="NUMBER") as b:
        assert b.call("getenv", ["NUMBER"]) == "1"
'''

FILES: Final[Mapping[str, str]] = MappingProxyType({"$module.py": ADAPTER, "test_$module.py": TESTS})

NEXT: Final = """\
$path: the adapter
$tests: its tests: the contract of all adapters, and its own

Next:
  python -m pytest $tests
Use its class as it is:
  bridge.connect("pkg.mod:Handler", adapter=${Class}Adapter)
Or by name (adapter="$module", BRIDGE_ADAPTER=$module), once pyproject.toml has this and the project is installed:
  [project.entry-points."bridge.adapters"]
  $module = "$dotted:${Class}Adapter"
"""
