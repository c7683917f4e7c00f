"""`new-handler` and `new-adapter`: what they write works, and they never harm what is there."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli import main
from bridge.cli.output import UnwritableError
from bridge.cli.scaffold import new_handler

ROOT = Path(__file__).parents[2]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program, as a user of the scaffold starts it: our package is installed, as far as it can tell."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment)


def outcome_of(folder: Path) -> tuple[int, str]:
    """Run them all; the exit code, and what the last line counts."""
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", cwd=folder)
    return done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0] if done.stdout else done.stderr


@pytest.mark.parametrize("command", ["new-handler", "new-adapter"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("two words", "no name in Python"),
        ("9lives", "no name in Python"),
        ("a.b", "no name in Python"),
        ("../up", "no name in Python"),
        ("class", "no name in Python"),
        ("", "no name in Python"),
        ("_", "no letter"),
        ("_1", "no letter"),
        ("json", "hide the module 'json'"),
        ("bridge", "hide the module 'bridge'"),
        ("conftest", "hide the module 'conftest'"),
        ("test_it", "taken for tests"),
    ],
)
def test_a_name_that_makes_no_module_or_hides_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, why: str
) -> None:
    """With 2, in one line that says what a name is; nothing is written. Fails when it is only seen to be a text."""
    assert main([command, "--dir", str(tmp_path), "--", name]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n"), why in err) == ("", 1, True), err
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_adapter_of_ours_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By that name nobody would ever get theirs. Fails when only modules are looked at."""
    assert main(["new-adapter", "mock", "--dir", str(tmp_path)]) == 2
    assert "there is an adapter 'mock' already" in capsys.readouterr().err
    assert main(["new-handler", "mock", "--dir", str(tmp_path)]) == 0


@pytest.mark.parametrize("existing", ["prices.py", "test_prices.py"])
@pytest.mark.parametrize("command", ["new-handler", "new-adapter"])
def test_what_exists_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, existing: str
) -> None:
    """Whichever of the files it is; then the other one isn't left there either. Fails when files are opened for
    writing, or the first one stays."""
    (tmp_path / existing).write_text("mine\n")

    assert main([command, "prices", "--dir", str(tmp_path)]) == 2
    assert f"{existing} exists already; nothing was written" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(existing, "mine\n")]


def test_a_directory_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a line, with 2. Fails when the system's error is raised, or taken for a file that exists."""
    (tmp_path / "file").write_text("")

    for folder in ("file", "file/below"):
        assert main(["new-handler", "prices", "--dir", str(tmp_path / folder)]) == 2
        assert f"{folder} is no directory, and can't be made: " in capsys.readouterr().err


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file met it; the error has an exit code of its own. Fails when the first one isn't taken back."""
    write = Path.write_text

    def filled(path: Path, text: str, **how: str) -> int:
        if path.name.startswith("test_"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, **how)

    monkeypatch.setattr(Path, "write_text", filled)
    with pytest.raises(UnwritableError, match=r"test_prices.py can't be written: No space left"):
        new_handler("prices", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one with a blank in its name, which is quoted in what is to be typed. Fails when it has to exist."""
    folder = tmp_path / "my project" / "src"

    assert main(["new-handler", "prices", "--dir", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["prices.py", "test_prices.py"]
    told = capsys.readouterr().out
    assert f"python -m pytest '{folder}/test_prices.py'\n" in told
    assert f"python -m bridge doctor '{folder}/prices.py':Prices\n" in told


def test_a_new_handler_passes_its_tests_and_what_is_said_to_be_next_works(tmp_path: Path) -> None:
    """Each command that is printed is run as it stands, in the directory where it was printed. Fails when a template
    and the package have parted."""
    made = run("-m", "bridge", "new-handler", "price_list", cwd=tmp_path)
    commands = re.findall(r"^  python (.*)$", made.stdout, re.MULTILINE)
    done = [run(*shlex.split(command), cwd=tmp_path) for command in commands]

    assert (made.returncode, made.stderr) == (0, "")
    assert [each.returncode for each in done] == [0, 0, 0], done
    assert "4 passed" in done[0].stdout
    assert "price_list.py:PriceList has the commands count, greet\n" in done[1].stdout
    assert json.loads(done[2].stdout) == {"text": "hello, ada"}
    (program,) = re.findall(r"^  with (.*)$", made.stdout, re.MULTILINE)
    assert run("-c", f"import bridge\nwith {program}", cwd=tmp_path).returncode == 0


def test_a_new_handler_in_a_package_is_imported_from_it(tmp_path: Path) -> None:
    """As pytest does it there. Fails when the folder itself is thought to be on the path."""
    package = tmp_path / "shop" / "workers"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    made = run("-m", "bridge", "new-handler", "prices", "--dir", "shop/workers", cwd=tmp_path)

    assert "from shop.workers.prices import Prices\n" in (package / "test_prices.py").read_text()
    assert 'bridge.connect("shop.workers.prices:Prices")' in made.stdout
    assert outcome_of(tmp_path) == (0, "4 passed")


def test_a_new_adapter_does_what_it_is_there_for(tmp_path: Path) -> None:
    """Its own test, and the form of the contract; all of the contract is for the deep test below. The snippet that is
    printed is what an entry point takes. Fails when a template and the package have parted."""
    made = run("-m", "bridge", "new-adapter", "counting", cwd=tmp_path)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "number or form or own_answers", cwd=tmp_path)

    assert (made.returncode, made.stderr) == (0, "")
    assert '[project.entry-points."bridge.adapters"]\n  counting = "counting:CountingAdapter"\n' in made.stdout
    assert "3 passed" in done.stdout, done.stdout


@pytest.mark.deep
def test_a_new_adapter_passes_the_whole_contract(tmp_path: Path) -> None:
    """Every test of the suite, on real workers."""
    assert run("-m", "bridge", "new-adapter", "counting", cwd=tmp_path).returncode == 0
    code, counted = outcome_of(tmp_path)

    assert (code, int(counted.split()[0]) > 40, "failed" in counted) == (0, True, False), counted
