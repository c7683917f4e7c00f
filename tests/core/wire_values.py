"""Compare the wire's JSON with the standard library's, under whatever interpreter runs this.

Rules: Python 3.8 syntax and the standard library alone; values come from a seed. Apart from test_wire.py because
that one needs pytest, which the other interpreters don't have.

Usage: python wire_values.py path/of/wire.py [without-accelerator]
"""

from __future__ import annotations

import importlib.util
import json
import sys
from random import Random
from types import ModuleType
from typing import Any

TEXTS = ("", "a", "key", "a b", "\u00e9", "\ud800", '\0\n"\\/', "\U0001f4a9", "0", "class")
NUMBERS = (0, -1, 2**31, 2**64, -(10**40), 0.0, -0.0, 1e-300, 1.5e300, 0.1, float("nan"), float("inf"), -float("inf"))
ODD: tuple[Any, ...] = (set(), b"x", object(), 1j, ValueError)


class Text(str):
    """A str that isn't exactly one."""


class Number(int):
    """An int that isn't exactly one."""


def scalar(random: Random) -> Any:
    """Something flat."""
    return random.choice((None, True, False, Text("t"), Number(7), random.choice(TEXTS), random.choice(NUMBERS)))


def value(random: Random, depth: int) -> Any:
    """Something that JSON can carry."""
    kind = random.randrange(5) if depth else 4
    if kind == 0:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 1:
        return tuple(value(random, depth - 1) for _ in range(random.randrange(4)))
    if kind == 2:
        return {random.choice(TEXTS): value(random, depth - 1) for _ in range(random.randrange(4))}
    if kind == 3:
        return {Text("k"): value(random, depth - 1)}
    return scalar(random)


def spoilt(random: Random) -> tuple[Any, str]:
    """Something with one place in it that JSON can't carry, and the path that leads there."""
    if random.random() < 0.3:
        bad: Any = {"ok": 1, random.choice((1, None, 2.5, ("a",))): 0}
    else:
        bad = random.choice(ODD)
    path = ""
    for _ in range(random.randrange(5)):
        before = [value(random, 1) for _ in range(random.randrange(3))]
        if random.random() < 0.5:
            bad, path = [*before, bad, object()], f"[{len(before)}]{path}"
        else:
            key = random.choice(("key", "a b", "class"))
            step = f".{key}" if key.isidentifier() else f"[{key!r}]"
            bad, path = {**{str(n): item for n, item in enumerate(before)}, key: bad}, step + path
    return bad, path


def check(wire: ModuleType, count: int) -> None:
    """Raises AssertionError at the first difference."""
    for seed in range(count):
        random = Random(seed)
        good = value(random, 4)
        body = wire.encode_json(good, "root")
        assert body == json.dumps(good, separators=(",", ":")).encode("ascii"), seed
        assert repr(wire.decode_json(bytearray(body))) == repr(json.loads(body)), seed

        bad, path = spoilt(random)
        try:
            reason = "it was encoded: " + str(wire.encode_json(bad, "root"))
        except wire.NotEncodable as refused:
            reason = str(refused)
        assert reason.startswith(("root" + path + " is of type ", "root" + path + " has the key ")), (seed, reason)

        damaged = bytearray(body)
        damaged[random.randrange(len(body))] = random.choice(b'0"[]{},:x\xff')
        if damaged[0] != wire.RICH:
            assert outcome(wire.decode_json, damaged) == outcome(json_loads, damaged), (seed, damaged)


def json_loads(data: bytearray) -> Any:
    """As the standard library reads text."""
    return json.loads(str(data, "utf-8"))


def outcome(decode: Any, data: bytearray) -> str:
    """The value as text, or that there is none."""
    try:
        return repr(decode(data))
    except ValueError:
        return "refused"


def wire_at(path: str) -> ModuleType:
    """The wire file as a module of its own."""
    spec = importlib.util.spec_from_file_location("wire_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    if "without-accelerator" in sys.argv:
        for name in ("_json", "json", "json.decoder", "json.encoder", "json.scanner"):
            sys.modules.pop(name, None)
        sys.modules["_json"] = None  # type: ignore[assignment]  # the way to say: this import fails
        import json
    check(wire_at(sys.argv[1]), 300)
    print("same")
