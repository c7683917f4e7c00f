"""What a cgroup counts, and which deaths that explains. The files are the test's own, in the form of the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.adapters.oom import OomKills


class Kernel:
    """A /proc and a /sys with one cgroup, of either version."""

    def __init__(self, root: Path, version: int = 2) -> None:
        self.root = root
        line, folder, self.name = {
            1: ("11:name=systemd:/app\n4:memory:/app\n0::/app\n", "memory/app", "memory.oom_control"),
            2: ("0::/app\n", "app", "memory.events"),
        }[version]
        self.folder = root / "sys/fs/cgroup" / folder
        self.folder.mkdir(parents=True)
        self.line = line
        self.count(0)

    def process(self, pid: int, line: str | None = None) -> int:
        """Start one, in that cgroup if nothing else is said."""
        folder = self.root / f"proc/{pid}"
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(self.line if line is None else line)
        return pid

    def count(self, kills: int) -> None:
        """The kernel has killed so many."""
        (self.folder / self.name).write_text(f"low 0\noom 7\noom_kill {kills}\noom_group_kill 0\n")


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    """Of both versions of cgroups."""
    return Kernel(tmp_path, request.param)


def test_a_kill_that_the_cgroup_counted_is_certain(kernel: Kernel) -> None:
    """Counted before and after. Fails when `_claim` answers from anything but the difference."""
    kernel.count(3)
    kills = OomKills(str(kernel.root))
    first, second = kills.watch(kernel.process(1)), kills.watch(kernel.process(2))

    assert not first()  # three, but before it was started
    kernel.count(4)
    late = kills.watch(kernel.process(3))
    assert not late()  # somebody else's, and before it was started
    assert second()


def test_one_kill_explains_one_death(kernel: Kernel) -> None:
    """Who was killed by hand an hour later wasn't out of memory. Fails when `_told` isn't kept."""
    kills = OomKills(str(kernel.root))
    asked = [kills.watch(kernel.process(pid)) for pid in (1, 2, 3)]
    kernel.count(2)

    assert [ask() for ask in asked] == [True, True, False]


def test_a_successor_does_not_take_the_reason_of_another_death(kernel: Kernel) -> None:
    """Two died at once; the place of the first was filled before the second was looked at. Fails when a start writes
    off what wasn't told yet."""
    kills = OomKills(str(kernel.root))
    first, second = kills.watch(kernel.process(1)), kills.watch(kernel.process(2))
    kernel.count(2)

    assert first()
    successor = kills.watch(kernel.process(3))
    assert second()
    assert not successor()


def test_a_cgroup_that_was_made_again_counts_from_nothing(kernel: Kernel) -> None:
    """Under the same name. Fails when what was told of the former one is kept."""
    kills = OomKills(str(kernel.root))
    former = kills.watch(kernel.process(1))
    kernel.count(1)
    assert former()
    kernel.count(0)

    ask = kills.watch(kernel.process(2))
    kernel.count(1)
    assert ask()


@pytest.mark.parametrize(
    "line",
    [
        "0::/elsewhere\n",
        "0::/../app\n",
        "4:cpu,cpuacct:/app\n",
        "0::/app (deleted)\n",
        "what is this\n",
        "",
    ],
)
def test_a_cgroup_that_cannot_be_seen_makes_nothing_certain(tmp_path: Path, line: str) -> None:
    """Outside of our namespace, without the controller, gone. Fails when a path with `..` is followed."""
    kernel = Kernel(tmp_path)
    (tmp_path / "sys/fs/app").mkdir()
    (tmp_path / "sys/fs/app/memory.events").write_text("oom_kill 0\n")
    ask = OomKills(str(tmp_path)).watch(kernel.process(1, line))
    kernel.count(1)
    (tmp_path / "sys/fs/app/memory.events").write_text("oom_kill 1\n")

    assert not ask()


def test_files_that_are_missing_or_odd_make_nothing_certain(kernel: Kernel) -> None:
    """No such process; an older kernel's file; a cgroup that is removed meanwhile. Fails when any of them raises."""
    kills = OomKills(str(kernel.root))
    assert not kills.watch(77)()

    ask = kills.watch(kernel.process(1))
    (kernel.folder / kernel.name).write_text("oom_kill many\n")
    assert not ask()
    (kernel.folder / kernel.name).write_text("under_oom 0\n")
    assert not ask()
    assert not kills.watch(kernel.process(2))()
    (kernel.folder / kernel.name).unlink()
    assert not ask()
