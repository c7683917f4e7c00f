"""The documentation, run: every Python block, every link, every table that repeats what the code says.

The blocks of one page share a namespace and a folder of their own. A block whose first line is a file's name, as in
`# greeter.py`, is that file. Lines that end in `# prints: ...` say what comes out, in order.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import pytest

import bridge
from bridge.core import lifecycle, protocol
from bridge.core.events import NAMES, fields_of
from bridge.core.protocol import KINDS, RECEIVE, SEND, State
from bridge.handler import HOOKS
from bridge.metrics.exposition import FAMILIES
from bridge.wire import HEADER

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
LANGUAGES: Final = {"python", "text", "console", "sh", "toml", "json"}

FENCE: Final = re.compile(r"^( *)```(.*)$")
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
FILE: Final = re.compile(r"# (\S+\.py)$")
PRINTS: Final = re.compile(r"# prints: (.*)$")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    line: int
    """Of its first line within the page."""
    code: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif opened is None:
            opened, lines = (fence[2].strip(), number + 1), []
        else:
            found.append(Block(*opened, "\n".join(lines) + "\n"))
            opened = None
    assert opened is None, f"{page.name}: the block that begins in line {opened} has no end"
    return found


def python_of(page: Path) -> list[Block]:
    """The blocks that are to be run."""
    return [block for block in blocks(page) if block.language == "python"]


def anchors(page: Path) -> set[str]:
    """What can stand behind # in a link to a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def name_of(page: Path) -> str:
    """A page as a person writes it."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=name_of)
def test_what_a_page_shows_is_what_happens(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader who types in what the page says sees what the page says."""
    monkeypatch.delenv("TEST_MODE", raising=False)  # who reads it has none
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    known = set(sys.modules)
    try:
        run(page, tmp_path, namespace, capsys)
    finally:
        logging.getLogger("bridge.supervisor").setLevel(logging.NOTSET)  # a page shows how to hear it
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]  # each page has a `shop` of its own


def run(page: Path, folder: Path, namespace: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """Write the blocks that are files, run the others."""
    for block in python_of(page):
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True)
        file = FILE.match(block.code.partition("\n")[0])
        if file:
            path = folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
            continue
        exec(code, namespace)
        expected = [match[1] for match in map(PRINTS.search, block.code.splitlines()) if match]

        assert capsys.readouterr().out.splitlines() == expected, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading in it."""
    broken = []
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_says_what_it_is(page: Path) -> None:
    """No example escapes being run by being left without a language."""
    assert [block.line for block in blocks(page) if block.language not in LANGUAGES] == []


def test_every_page_can_be_found_from_the_index() -> None:
    """Following links from the index or the readme, a reader comes to each page."""
    reached: set[Path] = set()
    ahead = [ROOT / "README.md", ROOT / "docs/index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
        ahead += [(page.parent / link).resolve() for link in links if link]

    assert set(PAGES) - reached == set()


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = (ROOT / page).read_text().partition(f"# {title}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_kinds_of_frames_are_those_of_the_code() -> None:
    """The protocol page lists every kind with its number, and who sends it."""
    sent, received = {kind for _, kind in SEND}, {kind for _, kind in RECEIVE}
    table = {
        int(number, 16): (name, sender) for number, name, sender, *_ in rows("docs/reference/protocol.md", "Kinds")
    }

    assert table == {
        kind: (name, "caller" if kind in sent else "worker" if kind in received else "nobody")
        for kind, name in KINDS.items()
    }


@pytest.mark.parametrize(
    ("title", "moves"), [("What the caller may send", SEND), ("What the caller may receive", RECEIVE)]
)
def test_the_state_tables_are_those_of_the_code(title: str, moves: dict[tuple[State, int], State]) -> None:
    """The protocol page has one row for each legal step, and no other."""
    table = [tuple(row) for row in rows("docs/reference/protocol.md", title)]

    assert table == [(state.name, KINDS[kind], after.name) for (state, kind), after in moves.items()]


def test_the_frame_layout_is_that_of_the_code() -> None:
    """The protocol page gives each field of the header its place and size, and they fill it."""
    table = rows("docs/reference/protocol.md", "Frame")
    header = [(int(offset), int(size)) for offset, size, *_ in table if size.isdigit()]
    codes = {1: "B", 2: "H", 4: "I", 8: "Q"}

    assert "<" + "".join(codes[size] for _, size in header) == HEADER.format
    assert [offset for offset, _ in header] == [sum(size for _, size in header[:n]) for n in range(len(header))]
    assert sum(size for _, size in header) == HEADER.size


def test_the_diagram_of_a_workers_life_is_that_of_the_code() -> None:
    """The concepts page draws the table of transitions."""
    assert f"```text\n{lifecycle.diagram()}\n```" in (ROOT / "docs/concepts.md").read_text()


def test_the_diagram_of_the_protocol_is_that_of_the_code() -> None:
    """The protocol page draws both of its tables. Fails when a step is left out, or one of them is another one."""
    assert f"```text\n{protocol.diagram()}\n```" in (ROOT / "docs/reference/protocol.md").read_text()


def test_the_events_are_those_of_the_code() -> None:
    """The guide has a row for each name and each field, and every attribute of a log record."""
    page = (ROOT / "docs/guides/observing.md").read_text()
    extra = fields_of(bridge.Event("worker.ready"))

    assert [row[0] for row in rows("docs/guides/observing.md", "What is told") if "." in row[0]] == [*NAMES]
    assert {field.name for field in fields(bridge.Event)} | set(extra) <= set(re.findall(r"`(\w+)`", page))


def test_the_metrics_are_those_of_the_code() -> None:
    """The guide has a row for each name, in the order in which they are exposed, with its type and its help."""
    table = [tuple(row) for row in rows("docs/guides/operations.md", "The names")]

    assert [(row[0], row[1], row[3]) for row in table] == [(f.name, f.kind, f.help) for f in FAMILIES]


def test_the_hooks_are_those_of_the_code() -> None:
    """The guide names every hook, since a method with such a name is no command."""
    table = {cell for row in rows("docs/guides/handlers.md", "Hooks") for cell in re.findall(r"on_\w+", row[0])}

    assert table == HOOKS


def test_the_errors_are_those_of_the_package() -> None:
    """The guide has a row for every error that can be raised, and says of each whether it is retryable."""
    table = {row[0]: row[2] for row in rows("docs/guides/errors-and-timeouts.md", "What raises when")}
    public = ((name, getattr(bridge, name)) for name in bridge.__all__)
    errors = {name: kind for name, kind in public if isinstance(kind, type) and issubclass(kind, bridge.BridgeError)}
    leaves = {name: kind for name, kind in errors.items() if name not in ("BridgeError", "PoolError", "WorkerError")}

    assert set(table) == set(leaves)
    assert {name for name, retryable in table.items() if retryable == "yes"} == {
        name for name, kind in leaves.items() if kind.retryable
    }
