"""What a user installs: the wheel, the sdist, and the wheel that is built from the sdist.

Deep, because pip fetches a build backend. Everything is built in a copy, so that the checkout stays as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.house.sources import ROOT

BUILD: Final = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""
NOT_OURS: Final = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A setuptools that builds wheels by itself, in a folder of its own."""
    folder = tmp_path_factory.mktemp("backend")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(folder), "setuptools>=77"], check=True, stdin=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, symlink and all."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_OURS))
    return copy


def build(what: str, source: Path, out: Path, backend: Path) -> Path:
    """Build `wheel` or `sdist`, as pip does it."""
    command = [sys.executable, "-c", BUILD, what, str(out)]
    done = subprocess.run(
        command, cwd=source, env={"PYTHONPATH": str(backend)}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


def check_wheel(wheel: Path, unpacked: Path) -> None:
    """Everything is in it once, as a real file, and it works from where it lies."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    adapter = unpacked / "bridge/adapters/python_port.py"
    code = "import bridge.adapters.python_port as port; print(port.__file__)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, check=True).stdout.strip()

    assert adapter.is_file()
    assert not (unpacked / "bridge/adapters").is_symlink()
    assert Path(found).samefile(adapter)
    assert {
        "bridge/py.typed",
        "bridge/wire.py",
        "bridge/handler.py",
        "bridge/coroutines.py",
        "bridge/dialogue.py",
        "bridge/pickling.py",
        "bridge/batches.py",
        "bridge/buffers.py",
        "bridge/busy.py",
        "bridge/states.py",
        "bridge/worker.py",
        "bridge/remote.py",
        "bridge/zygote.py",
        "bridge/reaper.py",
    } <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"bridge"}
    assert {name for name in names if "/tests/" in name} == set()


def test_the_wheel_has_every_module_as_a_real_file(checkout: Path, backend: Path, tmp_path: Path) -> None:
    """Installing it brings bridge.adapters and the type marker, and no top-level package but bridge."""
    wheel = build("wheel", checkout, tmp_path, backend)

    check_wheel(wheel, tmp_path / "unpacked")
    shipped = {path.relative_to(tmp_path / "unpacked") for path in (tmp_path / "unpacked/bridge").rglob("*.py")}
    assert shipped == {path.relative_to(checkout) for path in (checkout / "bridge").rglob("*.py")} | {
        Path("bridge/adapters") / path.name for path in (checkout / "adapters").glob("*.py")
    }


def test_the_sdist_builds_the_same_wheel(checkout: Path, backend: Path, tmp_path: Path) -> None:
    """Whoever builds from the source archive gets what we ship."""
    sdist = build("sdist", checkout, tmp_path, backend)
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.12 warns without one
        archive.extractall(tmp_path / "source")
    top = tmp_path / "source" / names[0].partition("/")[0]

    assert any(name.endswith("/bridge/adapters/python_port.py") for name in names)
    check_wheel(build("wheel", top, tmp_path, backend), tmp_path / "unpacked")
