"""Who may import whom: the floors of the house, read from the files themselves.

A file imports lower floors. Within a floor the files that belong together stand on a ladder, and each may import
those to its left; for type checkers alone, those to its right as well.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from typing import Final

import pytest

from tests.house.sources import OURS, ROOT, TESTS, Import, Source, imports

FLOORS: Final = (
    (
        ("bridge.endings", "bridge.errors", "bridge.platforms"),
        (
            "bridge.wire",
            "bridge.buffers",
            "bridge.busy",
            "bridge.handler",
            "bridge.states",
            "bridge.batches",
            "bridge.dialogue",
            "bridge.pickling",
            "bridge.worker",
            "bridge.zygote",
            "bridge.remote",
        ),
        ("bridge.coroutines", "bridge.settle"),
        ("bridge.reaper",),
        ("bridge.pipes", "bridge.locks"),
        ("bridge.children",),
    ),
    (
        ("bridge.core.limits", "bridge.core.protocol", "bridge.core.messages"),
        (
            "bridge.core.lifecycle",
            "bridge.core.events",
            "bridge.core.recycling",
            "bridge.core.policy",
            "bridge.core.members",
            "bridge.core.effects",
            "bridge.core.fleet",
            "bridge.core.hosts",
        ),
        ("bridge.core.poison",),
        ("bridge.core.pool_state", "bridge.core.spread"),
        ("bridge.core.sessions",),
        ("bridge.core.stats",),
        ("bridge.core",),
    ),
    (("bridge.contract", "bridge.lacking"),),
    (
        (
            "bridge.arena",
            "bridge.link",
            "bridge.hearing",
            "bridge.channel_steps",
            "bridge.channel_submit",
            "bridge.channel",
            "bridge.channel_async",
        ),
        ("bridge.inprocess", "bridge.engine", "bridge.jobs"),
        ("bridge.answers",),
        ("bridge.registry",),
        ("bridge.redaction", "bridge.cassette", "bridge.takes", "bridge.drift"),
    ),
    (
        (
            "bridge.runtime.forking",
            "bridge.runtime.hooks",
            "bridge.runtime.inbox",
            "bridge.runtime.journal",
            "bridge.runtime.threads",
            "bridge.runtime.poller",
            "bridge.runtime.guard",
            "bridge.runtime.worker",
            "bridge.runtime.claims",
            "bridge.runtime.tally",
            "bridge.runtime.propagation",
            "bridge.runtime.courier",
            "bridge.runtime.crew",
            "bridge.runtime.starting",
            "bridge.runtime.drains",
            "bridge.runtime.keeper",
            "bridge.runtime.pool_policy",
            "bridge.runtime.stock",
            "bridge.runtime.refusals",
            "bridge.runtime.handing",
            "bridge.runtime.alarms",
            "bridge.runtime.loop_claims",
            "bridge.runtime.pool",
            "bridge.runtime.loop_calls",
            "bridge.runtime.follow",
            "bridge.runtime.session",
            "bridge.runtime.watching",
            "bridge.runtime.announcer",
            "bridge.runtime.roster",
            "bridge.runtime.checkups",
            "bridge.runtime.supervisor",
            "bridge.runtime.figures",
            "bridge.runtime.status",
            "bridge.runtime",
            "bridge.runtime.calls",
            "bridge.runtime.streams",
            "bridge.runtime.async_calls",
            "bridge.runtime.async_streams",
        ),
        ("bridge.adapters.mock",),
        ("bridge.adapters.bridge_mock",),
        ("bridge.adapters.engines", "bridge.adapters.executor"),
        ("bridge.adapters.playback", "bridge.adapters.recording"),
        (
            "bridge.adapters.oom",
            "bridge.adapters.port",
            "bridge.adapters.zygote",
            "bridge.adapters.launched",
            "bridge.adapters.python_port",
        ),
        ("bridge.adapters",),
    ),
    (
        ("bridge.frames", "bridge.spawning", "bridge.scope"),
        (
            "bridge.door",
            "bridge.returns",
            "bridge.stubs",
            "bridge.futures",
            "bridge.chunks",
            "bridge.bulk",
            "bridge.async_bulk",
            "bridge.executor",
            "bridge.leasing",
            "bridge.sessions",
            "bridge.async_sessions",
            "bridge.aio",
            "bridge.client",
        ),
    ),
    (
        (
            "bridge.settings",
            "bridge.groups",
            "bridge.schema",
            "bridge.placement",
            "bridge.assembly",
            "bridge.plan",
            "bridge.binding",
            "bridge.opening",
            "bridge.verifying",
            "bridge.overrides",
            "bridge.container.providers",
            "bridge.container.graph",
            "bridge.container",
        ),
        (
            "bridge.metrics.exposition",
            "bridge.metrics.history",
            "bridge.metrics.pictures",
            "bridge.metrics.page",
            "bridge.metrics.endpoints",
            "bridge.metrics",
        ),
    ),
    (
        (
            "bridge.testing.fakes",
            "bridge.testing.possessions",
            "bridge.testing.contract_handler",
            "bridge.testing.contract_base",
            "bridge.testing.dialogue_contract",
            "bridge.testing.session_contract",
            "bridge.testing.values_contract",
            "bridge.testing.adapter_contract",
            "bridge.testing",
        ),
        ("bridge.pytest_anyio", "bridge.pytest_leaks", "bridge.pytest_scopes", "bridge.pytest_plugin"),
        ("bridge", "bridge.bench", "bridge.cli", "bridge.__main__"),
    ),
)
"""F0 to F7. All files below bridge/cli count as bridge.cli, those below bridge/bench as bridge.bench."""
WHOLE: Final = ("bridge.bench", "bridge.cli")

PLACES: Final = {
    name: (floor, ladder, step)
    for floor, ladders in enumerate(FLOORS)
    for ladder in ladders
    for step, name in enumerate(ladder)
}

DEPENDENCIES: Final[dict[str, str | tuple[str, ...]]] = {
    "pydantic": ("bridge.groups", "bridge.schema", "bridge.returns"),
    "pydantic_settings": "bridge.schema",
    "dependency_injector": "bridge.container",
    "pytest": "bridge.pytest_",
}
"""Each dependency and how the names of those begin that may import it."""


def on_the_plan(name: str) -> str:
    """The name under which FLOORS knows a module."""
    return next((whole for whole in WHOLE if name.startswith(f"{whole}.")), name)


def of_the_house(imported: Import) -> bool:
    """Whether an import stays in the house."""
    return imported.target.partition(".")[0] == "bridge"


def test_every_file_has_its_place_on_a_floor() -> None:
    """A new file is put on a floor before it is merged, and the plan names no file that is gone."""
    assert {on_the_plan(source.name) for source in OURS} == set(PLACES)


def test_every_package_is_in_the_wheel() -> None:
    """A folder of modules that pyproject.toml doesn't name is missing from what users install, and from nothing else
    that is tested every day. Fails when a new one isn't named."""
    text = (ROOT / "pyproject.toml").read_text()
    named = json.loads(re.findall(r"^packages = (\[.*\])$", text, re.MULTILINE)[0])

    assert set(named) == {source.name for source in OURS if source.path.name == "__init__.py"}


@pytest.mark.parametrize("source", OURS, ids=lambda source: source.shown)
def test_a_file_imports_only_lower_floors(source: Source) -> None:
    """Imports go down, or along the ladder of a floor; for type checkers both ways along it."""
    mine = on_the_plan(source.name)
    floor, ladder, step = PLACES[mine]
    broken = []
    for imported in filter(of_the_house, imports(source)):
        target = on_the_plan(imported.target)
        other_floor, other_ladder, other_step = PLACES[target]
        along = other_ladder == ladder and (imported.typing_only or other_step < step)
        if not (other_floor < floor or target == mine in WHOLE or (other_floor == floor and along)):
            broken.append(f"{imported.where} imports {imported.target}, F{other_floor}, from F{floor}")

    assert broken == []


def test_no_imports_go_in_a_circle() -> None:
    """Following the imports at the top of files, one never comes back to where one began."""
    known = {source.name for source in OURS}
    edges = {
        source.name: {
            imported.target
            for imported in imports(source)
            if imported.at_top and not imported.typing_only and imported.target in known
        }
        for source in OURS
    }
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in leaves:
            del edges[name]

    assert edges == {}


def test_adapters_import_only_what_lies_below_the_runtime() -> None:
    """An adapter can be written with errors, worker, reaper, pipes, core, contract and channel alone."""
    adapters = [source for source in OURS if source.name.startswith("bridge.adapters")]
    above = [
        f"{imported.where} imports {imported.target}"
        for source in adapters
        for imported in filter(of_the_house, imports(source))
        if PLACES[on_the_plan(imported.target)][0] > 3 and not imported.target.startswith("bridge.adapters")
    ]

    assert adapters
    assert above == []


def test_only_the_registry_knows_the_adapters_and_only_by_name() -> None:
    """No file of bridge/ imports an adapter, and none spells the name of one's module but the registry, and the list of
    public names, which loads it on first use and imports it for type checkers alone.
    """
    broken = []
    for source in OURS:
        if source.name.startswith("bridge.adapters"):
            continue
        broken += [
            imported.where
            for imported in imports(source)
            if imported.target.startswith("bridge.adapters") and not (imported.typing_only and source.name == "bridge")
        ]
        if source.name not in ("bridge.registry", "bridge"):
            broken += [
                source.at(node)
                for node in ast.walk(source.tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith("bridge.adapters")
            ]

    assert broken == []


def test_runtime_and_adapters_meet_only_in_the_contract() -> None:
    """Neither imports the other; what both name is contract.py, or lies below it and belongs to neither."""
    reached = {
        side: {
            imported.target
            for source in OURS
            if source.name.startswith(side)
            for imported in filter(of_the_house, imports(source))
        }
        for side in ("bridge.runtime", "bridge.adapters")
    }
    shared = reached["bridge.runtime"] & reached["bridge.adapters"]

    assert not any(target.startswith("bridge.adapters") for target in reached["bridge.runtime"])
    assert not any(target.startswith("bridge.runtime") for target in reached["bridge.adapters"])
    assert "bridge.contract" in shared
    below = {"bridge.endings", "bridge.errors", "bridge.wire", "bridge.handler", "bridge.worker", "bridge.settle"}
    assert shared <= {"bridge.contract"} | below


def test_the_house_needs_the_standard_library_and_three_packages() -> None:
    """Only schema.py and returns.py import pydantic, only the container dependency_injector, only the plugin pytest."""
    strangers = [
        f"{imported.where} imports {imported.target}"
        for source in OURS
        for imported in imports(source)
        if (top := imported.target.partition(".")[0]) not in sys.stdlib_module_names | {"bridge"}
        and not source.name.startswith(DEPENDENCIES.get(top, "nobody"))
    ]

    assert strangers == []


def test_tests_import_nothing_but_pytest_besides() -> None:
    """Whoever has installed the package and pytest can run every test; tests/interop isn't collected."""
    known = sys.stdlib_module_names | DEPENDENCIES.keys() | {"bridge", "tests", "pytest"}
    strangers = [
        f"{imported.where} imports {imported.target}"
        for source in TESTS
        if not source.name.startswith("tests.interop")
        for imported in imports(source)
        if imported.target.partition(".")[0] not in known
    ]

    assert strangers == []
