"""The status page in a browser: its style and its script are let in by its own policy, and it shows what goes on.

Deep, because it needs Chromium, which `.ci/run` installs where it can.
"""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge.metrics import wsgi
from bridge.metrics.endpoints import StartResponse
from tests.metrics.asking import served

pytestmark = pytest.mark.deep
PAPER: Final = {"light": bytes.fromhex("f6f6f3"), "dark": bytes.fromhex("131518")}
"""Colour of the page's margin."""


def browse(folder: Path, url: str, *options: str) -> str:
    """What Chromium writes for a page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium is installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", *options]
    done = subprocess.run([chromium, *flags, url], capture_output=True, text=True, timeout=120, cwd=folder)
    if done.returncode:
        pytest.skip(f"chromium doesn't run here: {done.stderr[-200:]}")
    return done.stdout


def screenshot(folder: Path, url: str, *options: str) -> bytes:
    """A page as it looks when it is there."""
    browse(folder, url, *options, "--window-size=900,700", "--screenshot=page.png")
    return (folder / "page.png").read_bytes()


@contextmanager
def opened(*headers: tuple[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A page whose bridge is called once, between the first picture and the second; and what was sent for it.

    Args:
        headers: Sent besides.
    """
    sent: list[str] = []
    with bridge.connect("x", adapter=bridge.MockAdapter({"price": 3}), size=2, name="<shop>") as b:
        answer = wsgi(b)

        def app(environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/":
                return answer(environ, start_response)
            if len(sent) == 1:
                b.call("price")
            body = [*answer(environ, lambda status, own: start_response(status, [*own, *headers]))]
            sent.append(b"".join(body).decode())
            return body

        with served(app) as connection:
            yield f"http://127.0.0.1:{connection.port}/", sent


def test_the_script_renews_the_picture(tmp_path: Path) -> None:
    """What happened since the first picture is in the document, without another load. Fails when the policy keeps the
    script out, or it renews nothing."""
    with opened() as (url, sent):
        document = browse(tmp_path, url, "--virtual-time-budget=5000", "--dump-dom")

    assert "0 answered" in sent[0]
    assert len(sent) > 1
    assert "1 answered" in document
    assert "&lt;shop&gt;" in document
    assert '<body class="">' in document or "<body>" in document  # not stale


def test_the_first_picture_needs_no_script(tmp_path: Path) -> None:
    """In a sandbox, where none runs. Fails when something is drawn by the script alone."""
    with opened(("Content-Security-Policy", "sandbox")) as (url, sent):
        document = browse(tmp_path, url, "--virtual-time-budget=3000", "--dump-dom")

    assert len(sent) == 1
    assert "0 answered" in document
    assert document.count("<svg") == 5


@pytest.mark.parametrize(("mode", "options"), [("light", ()), ("dark", ("--force-dark-mode",))])
def test_it_is_light_and_dark(tmp_path: Path, mode: str, options: tuple[str, ...]) -> None:
    """As the reader's system is. Fails when the policy keeps the style out."""
    with opened() as (url, _):
        picture = screenshot(tmp_path, url, *options)

    start = picture.index(b"IDAT") + 4
    row = zlib.decompressobj().decompress(picture[start:], 64)  # the filter's byte, then the first pixel as it is
    assert row[1:4] == PAPER[mode]
