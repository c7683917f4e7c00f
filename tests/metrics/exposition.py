"""A strict reader of Prometheus' text format 0.0.4, for tests: what it doesn't know is an error.

Rules: written from the format's description, and of nothing that writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL: Final = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
HEAD: Final = re.compile(rf"# (HELP|TYPE) ({NAME}) (.*)")
SAMPLE: Final = re.compile(rf"({NAME})(?:\{{((?:{LABEL}(?:,{LABEL})*)?)\}})? (\S+)")
VALUE: Final = re.compile(r"[+-]Inf|NaN|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
KINDS: Final = ("counter", "gauge", "histogram", "summary", "untyped")

Labels = frozenset[tuple[str, str]]


@dataclass
class Read:
    """One family."""

    kind: str = ""
    help: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)
    """By the whole name, and the labels."""


def read(text: str) -> dict[str, Read]:
    """The families of an exposition. Raises ValueError for whatever isn't right."""
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    families: dict[str, Read] = {}
    current = ""
    for line in text.split("\n")[:-1]:
        if head := HEAD.fullmatch(line):
            what, name, rest = head.groups()
            if (name in families) is not (what == "TYPE") or (what == "TYPE" and name != current):
                raise ValueError(f"HELP, TYPE and samples of {name} don't stand together, or twice")
            current = name
            family = families.setdefault(name, Read())
            if what == "HELP":
                family.help = rest
            elif rest not in KINDS or family.kind or family.samples:
                raise ValueError(f"a wrong TYPE: {line}")
            else:
                family.kind = rest
        else:
            _sample(line, current, families)
    for name, family in families.items():
        _check(name, family)
    return families


def _sample(line: str, current: str, families: dict[str, Read]) -> None:
    found = SAMPLE.fullmatch(line)
    if found is None or not VALUE.fullmatch(found.groups()[-1]):
        raise ValueError(f"no sample: {line!r}")
    name, labels = found[1], re.findall(LABEL, found[2] or "")
    family = families.get(current, Read())
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    if not family.kind or name not in [current + suffix for suffix in suffixes]:
        raise ValueError(f"a sample outside its family: {line!r}")
    if len({key for key, _ in labels}) < len(labels):
        raise ValueError(f"a label twice: {line!r}")
    key = name, frozenset((label, _plain(text)) for label, text in labels)
    if key in family.samples:
        raise ValueError(f"a series twice: {line!r}")
    family.samples[key] = float(found.groups()[-1])


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)


def _check(name: str, family: Read) -> None:
    if not family.kind or not family.samples:
        raise ValueError(f"{name} has no TYPE or no samples")
    if family.kind == "counter" and (not name.endswith("_total") or min(family.samples.values()) < 0):
        raise ValueError(f"{name} is no counter")
    if family.kind == "histogram":
        owners = {frozenset(pair for pair in labels if pair[0] != "le") for _, labels in family.samples}
        for owner in owners:
            _check_histogram(name, family, owner)


def _check_histogram(name: str, family: Read, owner: Labels) -> None:
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (whole, labels), value in family.samples.items()
        if whole == f"{name}_bucket" and owner < labels
    )
    count, _ = family.samples[f"{name}_count", owner], family.samples[f"{name}_sum", owner]
    if any(after < before for (_, before), (_, after) in pairwise(buckets)):
        raise ValueError(f"the buckets of {name} aren't cumulative")
    if buckets[-1] != (float("inf"), count):
        raise ValueError(f"the last bucket of {name} isn't its count")
