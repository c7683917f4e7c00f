"""The progress bar: on a real pseudo-terminal, and where there is none."""

from __future__ import annotations

import io

import pytest

from bridge.cli.progress import REDRAW, Progress
from bridge.cli.rate import Rate, duration
from tests.facade.terminals import Terminal


class Ticks:
    """A clock that moves on by more than a redraw's pause at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2 * REDRAW
        return self.now


def test_a_terminal_gets_one_line_that_is_drawn_over() -> None:
    """Each drawing starts at the line's beginning; only the end of the job ends the line."""
    terminal = Terminal()
    with Progress(2, "files", terminal.stream, Ticks()) as progress:
        progress.step()
        progress.step()

    half = "[" + "#" * 15 + "." * 15 + "]  50%  1 of 2 files"
    whole = "[" + "#" * 30 + "] 100%  2 of 2 files"
    assert terminal.shown() == f"\r{half}\r{whole}\r\n"


@pytest.mark.parametrize(("columns", "longest"), [(20, 19), (0, 79)])
def test_a_bar_never_wraps(columns: int, longest: int) -> None:
    """It is cut to the terminal's width; one that says 0, since nobody told it, is taken for 80."""
    terminal = Terminal(columns)
    Progress(3, "files" * 20, terminal.stream, Ticks()).step()

    assert len(terminal.shown()) == 1 + longest


def test_a_message_stands_above_the_bar() -> None:
    """What was drawn is wiped before, and a terminal's own ^C with it: nothing is left beside the text."""
    terminal = Terminal()
    progress = Progress(3, "files", terminal.stream, Ticks())
    progress.step()
    progress.say("hello")
    progress.step()

    _, bar, blanks, text, again = terminal.shown().replace("\r\n", "\n").split("\r")
    assert (blanks, text) == (" " * len(bar + "^C"), "hello\n")
    assert again.endswith("2 of 3 files")


def test_a_bar_is_not_drawn_more_often_than_eyes_can_see() -> None:
    """A thousand steps at the same moment are two drawings: the first and the last."""
    terminal = Terminal()
    progress = Progress(1000, "files", terminal.stream, lambda: 0.0)
    for _ in range(1000):
        progress.step()

    shown = terminal.shown()
    assert shown.count("\r") == 2
    assert shown.endswith("1,000 of 1,000 files")


def test_an_error_wipes_the_bar() -> None:
    """What is said next, as after Ctrl-C, begins on an empty line."""
    terminal = Terminal()
    progress = Progress(2, "files", terminal.stream, Ticks())
    progress.step()
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt

    assert terminal.shown().endswith(" \r")


def test_a_bar_whose_drawing_was_interrupted_is_wiped_too() -> None:
    """Ctrl-C likes to come while the program writes; what reached the screen by then doesn't stay there."""

    class Interrupted(io.StringIO):
        def isatty(self) -> bool:
            return True

        def flush(self) -> None:
            if not self.getvalue().endswith(" \r"):
                raise KeyboardInterrupt

    stream = Interrupted()
    with pytest.raises(KeyboardInterrupt), Progress(2, "files", stream, Ticks()) as progress:
        progress.step()

    assert stream.getvalue().endswith(" \r")


@pytest.mark.parametrize(("total", "lines"), [(1000, 4), (4, 4), (3, 3), (1, 1)])
def test_without_a_terminal_there_are_a_few_plain_lines(total: int, lines: int) -> None:
    """A log of a thousand steps is four lines long, whatever the clock says."""
    log = io.StringIO()
    with Progress(total, "files", log) as progress:
        for _ in range(total):
            progress.step()

    assert log.getvalue().count("\n") == lines
    assert "\r" not in log.getvalue()
    assert log.getvalue().endswith(f"{total:,} of {total:,} files\n")


def test_without_a_stream_nothing_is_written() -> None:
    """A program whose stderr was closed counts in silence."""
    with Progress(1, "files", None) as progress:
        progress.say("hello")
        progress.step()


def test_a_job_of_unknown_length_shows_its_rate_and_what_is_left() -> None:
    """The share is that of the bytes, the rate that of this run. Fails when what was done before counts for it."""
    terminal, now = Terminal(), [0.0]
    rate = Rate(400, "lines", terminal.stream, clock=lambda: now[0])
    for _ in range(10):
        rate.skip(10)
    now[0] = 5.0
    for _ in range(10):
        rate.step(10)
    rate.end()

    *_, last = terminal.shown().split("\r\n")[0].split("\r")
    assert last == "[" + "#" * 15 + "." * 15 + "]  50%  20 lines  2/s  ETA 0:10"


def test_a_rate_is_that_of_the_last_seconds() -> None:
    """A slow start doesn't spoil the forecast for ever. Fails when the rate is that of the whole run."""
    terminal, now = Terminal(), [0.0]
    rate = Rate(None, "lines", terminal.stream, clock=lambda: now[0])
    for second in range(40):
        for hundredth in range(0, 100, 100 if second < 20 else 1):
            now[0] = second + hundredth / 100
            rate.step(1)
    rate.end()

    assert terminal.shown().rstrip().endswith("2,020 lines  100/s")


def test_a_rate_is_for_eyes_alone() -> None:
    """Where stderr is no terminal, nothing is written."""
    log = io.StringIO()
    rate = Rate(10, "lines", log)
    rate.step(10)
    rate.end()

    assert log.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (67, "1:07"), (59.7, "1:00"), (10_861, "3:01:01")])
def test_a_duration_reads_as_a_clock(seconds: float, text: str) -> None:
    """Seconds never show as 60."""
    assert duration(seconds) == text
