"""docs/design/comparison.md, the columns of what has to be installed: what the page says is what happens.

Rules: the checks of one package run one after the other, those of several at once (`-n 5 --dist loadgroup`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.interop.loopback import is_alone
from tests.interop.peers import PEERS
from tests.process.comparison import PAGE, answer, cells, place
from tests.process.situations import CHECKS

CELLS: Final = cells(PAGE)
QUIET: Final = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
"""No token is left in the user's folder, and nothing is sent."""


@pytest.fixture(scope="module")
def ray() -> Iterator[str]:
    """The address of a cluster that all checks of Ray share, since it takes seconds to start."""
    if not is_alone():
        pytest.skip("Ray listens on every interface: `unshare --net python -m tests.interop.loopback pytest ...`")
    program = Path(sys.executable).with_name("ray")
    options = ["--head", "--num-cpus=2", "--port=0", "--node-ip-address=127.0.0.2", "--include-dashboard=false"]
    with place(**QUIET) as (folder, environment):
        command = [str(program), "start", *options, f"--temp-dir={folder}"]
        started = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        address = re.search(r"address='([\d.:]+)'", started.stdout)
        assert address, started.stdout + started.stderr
        yield address[1]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PEERS])
def test_a_cell_says_what_happens(name: str, check: str, request: pytest.FixtureRequest) -> None:
    """The situation is provoked with that package's pool. Fails when it behaves otherwise, in this version."""
    variables = {**QUIET, "RAY_ADDRESS": request.getfixturevalue("ray")} if name == "Ray" else {}

    assert answer(name, check, **variables) == CELLS[name, check]
