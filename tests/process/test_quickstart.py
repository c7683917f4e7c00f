"""The newcomer's ten steps, typed as the page has them: in an empty folder, with an environment of its own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.facade.test_docs import FILE, ROOT, Block, blocks

PAGE: Final = ROOT / "docs/quickstart.md"
LAST: Final = "# The same in Python"
ENDED: Final = "----- that was a step: "


def steps() -> list[Block]:
    """What is typed and the files, up to the end of the tenth step."""
    end = PAGE.read_text().splitlines().index(LAST)
    return [block for block in blocks(PAGE) if block.line < end]


def script_of(found: list[Block], port: int) -> tuple[str, list[str]]:
    """All of it for one shell, which says when a command has ended; and what is to be seen behind each."""
    script, expected = "exec 2>&1\n", []
    for block in found:
        if block.language == "python":
            name = FILE.match(block.code.partition("\n")[0])
            assert name is not None, f"line {block.line}: which file is that?"
            script += f"printf %s {shlex.quote(block.code)} > {name[1]}\n"
            continue
        for command in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            typed, _, shown = command.partition("\n")
            if typed.startswith("CHECKOUT="):
                typed = f"CHECKOUT={shlex.quote(str(ROOT))}"
            script += f"{typed.replace('8000', str(port))}\necho; echo {shlex.quote(ENDED)}$?\n"
            expected.append("[...]" if typed.startswith("pip ") else shown)  # what pip warns of is its own
    return script, expected


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def looks_like(shown: str) -> re.Pattern[str]:
    """What the page shows; [...] stands for anything."""
    return re.compile(".*".join(map(re.escape, shown.rstrip("\n").split("[...]"))) + r"\s*", re.DOTALL)


@pytest.mark.deep
def test_the_ten_steps_need_nothing_that_is_not_on_the_page(tmp_path: Path) -> None:
    """Each command prints what the page shows. Fails when a command, a file or an output on the page is another one
    than it is."""
    script, expected = script_of(steps(), free_port())
    ours = ("BRIDGE_", "TEST_MODE", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ["PATH"] = f"{tmp_path / 'bin'}:{environ['PATH']}"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    (tmp_path / "newcomer").mkdir()
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path / "newcomer",
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = shell.communicate(timeout=300)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)

    *outputs, rest = re.split(rf"\n{ENDED}\d+\n", told)
    assert rest.strip() == ""
    assert len(outputs) == len(expected)
    for output, shown in zip(outputs, expected, strict=True):
        assert looks_like(shown).fullmatch(output), f"the page shows:\n{shown}\nand that is:\n{output}"
