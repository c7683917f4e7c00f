"""docs/design/comparison.md, cell by cell: what the page says of other pools is what they do here and now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.process.peers import CHECKS, PEERS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "design" / "comparison.md").read_text()
ROWS: Final = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
HEAD: Final = ROWS[0]
CELLS: Final = {
    (name, row[1].strip("`")): cell
    for row in ROWS
    if row[1].strip("`") in CHECKS
    for name, cell in zip(HEAD, row, strict=False)
}


def found(name: str, check: str, folder: Path) -> str:
    """What a check says. Whatever it leaves behind is ended."""
    command = [sys.executable, "-m", "tests.process.peers", name, check, str(folder / "gate")]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert program.stdout is not None
    with program, program.stdout:
        try:
            return program.stdout.readline().strip()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def test_each_check_has_its_row() -> None:
    """No cell is left without a check, and no check without a row."""
    assert {check for _, check in CELLS} == set(CHECKS)
    assert set(PEERS) <= set(HEAD)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", PEERS)
def test_a_cell_says_what_happens(name: str, check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The situation is provoked with that pool. Fails when the pool, ours or another, behaves otherwise."""
    monkeypatch.delenv("TEST_MODE", raising=False)

    assert found(name, check, tmp_path) == CELLS[name, check]


def test_the_readme_says_the_same() -> None:
    """Its rows are those of the page, but for what is no behaviour. Fails when one of the two is changed alone."""
    readme = (ROOT / "README.md").read_text().partition("## Beside other pools\n")[2].partition("\n## ")[0]
    short = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    whole = {row[0]: row[2:] for row in ROWS if row[1].strip("`") in CHECKS}

    assert len(short) > 6
    assert {row[0]: row[1:] for row in short[2:] if row[0] in whole} == {row[0]: whole[row[0]] for row in short[2:-1]}
