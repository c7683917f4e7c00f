"""Situations that a pool of processes meets: each check provokes one, and answers with the words of its row's cells.

Rules: nothing is asserted here, only found out; nothing is timed. A check runs in an interpreter of its own
(`python -m tests.process.peers NAME CHECK FOLDER`), since what it does to a pool isn't always to be repaired, and knows
of a pool what `Peer` says. Apart from peers.py, which says how each pool is asked, so that all are asked the same.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import traceback
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.process import held
from tests.process.held import SOON, Money, became, ends, gate, told
from tests.process.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.peers import Peer

ENDLESS: Final = 20_000
"""Items of an iterable that stands for an endless one."""
PATIENCE: Final = 6.0
"""Seconds after which a pool that gives a call some time to stop has lost its patience."""
FOUND: Final = "found: "
"""How the line begins that says what a check found: some pools write lines of their own."""
WAITING: Final = 5
"""Calls behind one that is held: a pool hands some of them to its worker ahead of time, and not all."""


def crashing(peer: Peer, folder: str) -> str:
    """What a worker that dies costs, while another one is in a call."""
    with gate(folder) as go:
        held_call = peer.submit(held.hold, folder)
        told(folder)
        call = peer.submit(held.crash, folder)
        whose = "that call" if peer.tells else "that call, whose caller waits for ever"
        if peer.tells:
            with suppress(Exception):
                peer.result(call)
        else:
            peer.result(peer.submit(held.negative, 1))  # by a worker that was started in its place
        tries = held.marks(f"{folder}/deaths")
        go()
        spared = works(peer, held_call) and (peer.tells or not call.ready())
    replaced = works(peer) and works(peer)
    if not spared:
        return "all calls" if replaced else "all calls, and the pool"
    return whose + (f", after {tries} tries" if tries > 1 else "") + ("" if replaced else "; its worker isn't replaced")


def works(peer: Peer, call: object = None) -> bool:
    """Whether a call, or else another one, has a result."""
    try:
        peer.result(peer.submit(held.negative, 1) if call is None else call)
    except Exception:  # of the pool's, whichever it has for that
        return False
    return True


def report(peer: Peer, folder: str) -> str:
    """What the error of a crash says of it."""
    with gate(folder):
        call = peer.submit(held.crash, folder)
        if not peer.tells:
            return "nothing"  # nobody is told: see `crashing`
        try:
            peer.result(call)
        except Exception as error:
            return told_by(f"{error!r} {error} {vars(error)}")
    return "no error"


def told_by(said: str) -> str:
    """What a report tells of a crash. An exit code stands for itself: names of calls have some digit behind a dash."""
    signs = (("signal", rf"SIGABRT|(?<!\w)-{signal.SIGABRT.value}\b"), ("stderr", "last words"))
    return ", ".join(part for part, sign in signs if re.search(sign, said)) or "nothing"


def deadline(peer: Peer, folder: str) -> str:
    """Whether a deadline stops the work."""
    with gate(folder) as go:
        goes_on = became(peer.late(folder), folder, go, SOON) == "went on"
    return "frees the caller; the work goes on" if goes_on else "stops the work"


def cancelling(peer: Peer, folder: str) -> str:
    """What `cancel` stops: a call that runs, or at least the last one of those behind it."""
    peer.size = 1
    with gate(folder) as go:
        call = peer.submit(held.hold, folder)
        worker = told(folder)
        if not peer.can_cancel(call):
            return "nothing"
        waiting = [peer.submit(held.mark, f"{folder}/{number}") for number in range(WAITING)]
        for other in reversed(waiting):
            peer.cancel(other)
        tried = peer.cancel(call)
        if became(worker, folder, go, PATIENCE if tried else 0) != "went on":
            return "what runs, too"
        peer.result(peer.submit(held.negative, 1))
        return "nothing" if held.marks(f"{folder}/{WAITING - 1}") else "only what waits"


def keeps(peer: Peer, folder: str) -> str:
    """Whether a worker whose call was stopped, by its deadline or by `cancel`, lives on."""
    peer.size = 1
    with gate(folder) as go:
        worker = peer.late(folder)
        if became(worker, folder, go, SOON) == "went on":
            folder += "+"
            with gate(folder) as go_on:
                call = peer.submit(held.hold, folder)
                worker = told(folder)
                tried = peer.cancel(call)
                if became(worker, folder, go_on, PATIENCE if tried else 0) == "went on":
                    return "nothing is stopped"
    if ends(worker, SOON):
        return "is killed"
    same = peer.result(peer.submit(held.kept)) == [worker, folder]
    return "lives on, with its state" if same else "lives on, unused"


def in_system(peer: Peer, folder: str) -> str:
    """What `cancel` does to a call that waits in one call of the system's, where no Python runs, and sleeps there."""
    with gate(folder) as go:
        call = peer.submit(held.hold_in_system, folder)
        worker = told(folder)
        wait_until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(") ")[2][0] == "S")
        happened = became(worker, folder, go, PATIENCE if peer.cancel(call) else 0)
    return {"went on": "nothing", "stopped": "stops it", "ended": "kills its worker"}[happened]


def orphans(peer: Peer, folder: str) -> str:
    """What a busy worker does once its parent was killed by SIGKILL."""
    with gate(folder) as go:
        parent = subprocess.Popen([sys.executable, "-m", *peer.command, "parent", folder])
        worker = told(folder)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        if ends(worker, SOON):
            return "ends"
        if became(worker, folder, go, peer.patience) == "went on":
            return "works on"
        return "ends, seconds later" if ends(worker, held.LONG) else "lives on"


def parent(peer: Peer, folder: str) -> str:
    """That parent."""
    peer.result(peer.submit(held.hold, folder))
    return ""


def endless(peer: Peer, folder: str) -> str:
    """How many items `map` takes before more than the first result is asked for."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < ENDLESS:
            taken += 1
            yield taken

    try:
        results = peer.map(held.negative, items())
    except TypeError:
        return "none: it is refused" if taken == 0 else "no longer"
    if results is None:
        return "—"
    next(results)
    peer.settle()
    return "all items" if taken == ENDLESS else "some items ahead"


def own_objects(peer: Peer, folder: str) -> str:
    """Whether an object of a class of one's own travels as it is."""
    for how, setting in peer.settings.items():
        asked = setting(peer)
        with suppress(Exception):
            if asked.result(asked.submit(held.double, Money(2))).amount == 4:
                return how
    return "no"


def functions(peer: Peer, folder: str) -> str:
    """Whether a lambda travels, that has a variable of the function around it."""
    factor = 3
    for how, setting in peer.settings.items():
        asked = setting(peer)
        with suppress(Exception):
            if asked.result(asked.submit(held.apply, lambda number: factor * number, 2)) == 6:
                return how
    return "no"


def shared(peer: Peer, folder: str) -> str:
    """What calls have that share a state in one worker, of which there can be several."""
    made = peer.states()
    if made is None:
        return "—"
    how, one, other = made
    seen = [one(), other(), one(), one(), other()]
    return how if seen == [1, 1, 2, 3, 2] else f"{how}: {seen}"


def yielding(peer: Peer, folder: str) -> str:
    """What has the items of a call that yields, each before the next one is made."""
    with gate(folder) as go:
        try:
            how, items = peer.items(held.two, folder)
            first = next(items)
        except Exception:
            return "no"
        go()
        return how if [first, *items] == [1, 2] else "no"


def doubles(peer: Peer, folder: str) -> str:
    """What answers one thread with a double, while another one calls the real thing."""
    return peer.doubles()


def elsewhere(peer: Peer, folder: str) -> str:
    """Whether a worker runs in another virtualenv, that has nothing of the pool's, and sees what is installed there."""
    venv.create(folder, symlinks=True)
    (there,) = Path(folder).glob("lib/*/site-packages")
    (there / "only_there.py").write_text("import sys\nPREFIX = sys.prefix\n")
    return peer.elsewhere(folder)


CHECKS: Final[Mapping[str, Callable[[Peer, str], str]]] = {
    "crashing": crashing,
    "report": report,
    "deadline": deadline,
    "cancelling": cancelling,
    "keeps": keeps,
    "in_system": in_system,
    "orphans": orphans,
    "endless": endless,
    "own_objects": own_objects,
    "functions": functions,
    "shared": shared,
    "yielding": yielding,
    "doubles": doubles,
    "elsewhere": elsewhere,
}


def main(peers: Mapping[str, type[Peer]]) -> None:
    """Say what a check finds, and leave without waiting for whatever the pool waits for."""
    name, check, folder = sys.argv[1:]
    try:
        print(FOUND + {**CHECKS, "parent": parent}[check](peers[name](), folder), flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # a pool whose worker is in a call would be waited for, for ever
