"""docs/design/comparison.md, cell by cell: what the page says of other pools is what they do here and now.

The columns of what has to be installed are checked by tests/interop/test_peers.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.process import peers
from tests.process.comparison import MARK, PAGE, PEERS, README, ROOT, answer, cells, linked, links, place, table
from tests.process.situations import CHECKS, told_by
from tests.process.waiting import is_gone

CELLS: Final = cells(PAGE)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", peers.PEERS)
def test_a_cell_says_what_happens(name: str, check: str) -> None:
    """The situation is provoked with that pool. Fails when the pool, ours or another, behaves otherwise."""
    assert answer(name, check) == CELLS[name, check]


@pytest.mark.parametrize(
    ("said", "tells"),
    [
        ("died with exit code -6", "signal"),
        ("{SIGABRT(-6)}", "signal"),
        ("last words\nSIGABRT", "signal, stderr"),
        ("crash-6b1e, crash-0c2a-6d3f, 10-6, -63", "nothing"),
    ],
)
def test_a_name_tells_of_no_signal(said: str, tells: str) -> None:
    """One of Dask's calls, say. Fails when a digit behind any dash is taken for an exit code: one in five of its names
    has such."""
    assert told_by(said) == tells


def test_each_cell_has_its_check_and_each_check_its_cells() -> None:
    """No pool and no situation is left out. Fails when a cell is linked to a check of another row."""
    assert set(CELLS) == {(name, check) for name in PEERS for check in CHECKS}
    head, *rows = table(PAGE)
    assert [linked(cell) for cell in head[1:]] == [(name, kind.__name__) for name, kind in PEERS.items()]
    assert [len({linked(cell)[1] for cell in row[1:]}) for row in rows] == [1] * len(rows)


@pytest.mark.parametrize("page", [PAGE, README], ids=lambda page: page.stem)
def test_a_link_leads_to_the_line_of_its_check(page: Path) -> None:
    """Fails when a check was moved: `python -m tests.process.comparison` prints the lines to put there."""
    said = [line for line in page.read_text().splitlines() if line.startswith("[") and "]: " in line]

    assert said == links(page)


def test_the_readme_says_the_same() -> None:
    """All pools, and rows of the page. Fails when one of the two is changed alone."""
    short, whole = table(README), table(PAGE)

    assert len(short) > 8
    assert short[0] == whole[0]
    assert [row for row in short if row not in whole] == []


def test_the_page_names_the_versions_that_are_asked() -> None:
    """Those that `.ci/run` installs. Fails when one is updated there alone: its cells are to be looked at again."""
    said = re.findall(r"\b(\w+)\s(\d+\.\d+\.\d+)\b", PAGE.read_text().partition("\n|")[0])

    assert {name for name, _ in said} == set(PEERS) - set(peers.PEERS)
    pins = (ROOT / ".ci" / "run").read_text().split()
    assert [f"{name.lower()}=={version}" for name, version in said if f"{name.lower()}=={version}" not in pins] == []


def test_a_dash_is_only_for_what_no_name_speaks_of() -> None:
    """Fails when `lacks` looks at nothing, or at the names of nothing public."""
    for kind in peers.PEERS.values():
        with pytest.raises(LookupError, match="there may be such a thing"):
            kind().lacks(("future", "async"))


def test_what_a_check_leaves_behind_is_ended() -> None:
    """A process that outlives its parent, and is in a session of its own. Fails when `place` only ends its child."""
    orphan = "from subprocess import *; print(Popen(['sleep', '600'], stdout=DEVNULL, start_new_session=True).pid)"
    with place() as (folder, environment):
        left = subprocess.run([sys.executable, "-c", orphan], env=environment, stdout=subprocess.PIPE)
        process = int(left.stdout)
        assert environment[MARK] == folder
        assert not is_gone(process)

    assert is_gone(process)
    assert not os.path.exists(folder)
