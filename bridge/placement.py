"""What a worker behind a launcher needs from here, and what can't be had there.

Rules: modules are found as an import would find them, and never imported; all is read once, so that each worker of
a bridge runs the same code, whenever it is started. Apart from assembly.py, whose values are the same
wherever a worker is.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from types import MappingProxyType
from typing import Final

from bridge.contract import Capability, Cargo, WorkerSpec
from bridge.errors import ConfigurationError
from bridge.lacking import BEHIND_A_LAUNCHER
from bridge.settings import StartMethod

SAFE: Final = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)
"""What no shell there touches, but for a tilde, which may be meant."""
NO_CODE: Final = ("__pycache__",)


def check_launched(spec: WorkerSpec, max_rss: int | None) -> None:
    """Raise ConfigurationError for what can't work where workers are behind a launcher.

    Args:
        max_rss: Of the settings (`recycle.max_rss`).
    """
    there = spec.elsewhere or spec
    if not (spec.elsewhere or spec.launcher):
        return
    asked = {
        Capability.ZYGOTE: spec.start_method == StartMethod.ZYGOTE.value,
        Capability.ENV_ALLOW: spec.env_allow is not None,
        Capability.MAX_RSS: max_rss is not None,
    }
    missing = [why for capability, why in BEHIND_A_LAUNCHER.items() if asked.get(capability)]
    if there.python is not None and not SAFE.fullmatch(there.python):
        missing.append(
            f"worker.python {there.python!r} has characters that a shell there would take for its own: name a link "
            "to it without them"
        )
    if missing:
        raise ConfigurationError(f"behind a launcher, {missing[0]}")


def cargo_of(names: Sequence[str], path: Sequence[str]) -> Cargo | None:
    """What `worker.ship` names.

    Args:
        names: Of modules and packages, or paths of files and folders.
        path: Where modules are looked for.

    Raises:
        ConfigurationError: There is no such thing, or it can't be sent.
    """
    if not names:
        return None
    found: dict[str, str] = {}
    for name in names:
        is_path = os.sep in name or name.endswith(".py")
        found.update(_of_path(name) if is_path else _of_module(name, path))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:  # not compressed: an interpreter there may lack zlib
        for inside, file in sorted(found.items()):
            with open(file, "rb") as content:
                archive.writestr(zipfile.ZipInfo(inside), content.read())
    return Cargo(data.getvalue(), _modules_of(found))


def _modules_of(found: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(
        {file: inside[: -len(".py")].replace("/", ".") for inside, file in found.items() if inside.endswith(".py")}
    )


def _of_path(name: str) -> dict[str, str]:
    path = os.path.abspath(os.path.expanduser(name))
    if os.path.isdir(path):
        return dict(_below(path, os.path.basename(path)))
    if not os.path.isfile(path):
        raise ConfigurationError(f"worker.ship: there is no file or folder {path}")
    return {os.path.basename(path): path}


def _of_module(name: str, path: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    places: Sequence[str] = path
    whole, parts = "", name.split(".")
    for number, part in enumerate(parts, 1):
        whole = f"{whole}.{part}".lstrip(".")
        spec = PathFinder.find_spec(whole, [*places])
        if spec is None:
            raise ConfigurationError(
                f"worker.ship: there is no module {whole!r} to be found by an import here; a file is named by its path"
            )
        inside = whole.replace(".", "/")
        folders = [*(spec.submodule_search_locations or ())]
        if spec.origin is not None and not spec.origin.endswith(".py"):
            raise ConfigurationError(f"worker.ship: {whole} is compiled ({spec.origin}); it has to be installed there")
        if number == len(parts) and folders:
            for folder in folders:
                found.update(_below(folder, inside))
        elif spec.origin is not None:
            found[f"{inside}/__init__.py" if folders else f"{inside}.py"] = spec.origin
        places = folders
    return found


def _below(folder: str, inside: str) -> Iterator[tuple[str, str]]:
    for where, folders, files in os.walk(folder):
        folders[:] = [each for each in sorted(folders) if each not in NO_CODE]
        for file in sorted(files):
            path = os.path.join(where, file)
            yield os.path.join(inside, os.path.relpath(path, folder)), path
