"""How fast it is, measured beside the floor and beside the standard library: what `python -m bridge bench` runs.

Rules: a section measures series in rounds, in which all its subjects take turns; rows.py says what is compared, and
with which budget. Nothing here prints, and nothing but the command imports it. Apart from the command line, which says
where the report goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from bridge.bench.bulk import bulk
from bridge.bench.calls import latency
from bridge.bench.crowds import asynchronous, throughput
from bridge.bench.found import Effort, Found
from bridge.bench.growth import growth
from bridge.bench.lives import recover, start
from bridge.bench.scopes import scope
from bridge.bench.sizes import memory, payload

SECTIONS: Final = MappingProxyType(
    {
        "latency": latency,
        "throughput": throughput,
        "async": asynchronous,
        "map": bulk,
        "start": start,
        "recover": recover,
        "scope": scope,
        "memory": memory,
        "payload": payload,
        "growth": growth,
    }
)


def measure(sections: Sequence[str], effort: Effort, began: Callable[[str], object]) -> Found:
    """Run the sections, one after the other.

    Args:
        began: Is told the name of each.
    """
    found = Found()
    for name in sections:
        began(name)
        SECTIONS[name](effort, found)
    return found
