"""The frame of a worker's result: few steps for a short or flat value, and the same frame as ever (`result_frame`)."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import pytest

from bridge.handler import result_frame, result_of
from bridge.wire import CODEC_JSON, ERROR, HEADER, RESULT, SHORT_TEXT, decode_json

LIMIT: Final = 2**20


class Odd(dict[Any, object]):
    """A dict of the handler's."""


class Hostile(Odd):
    """One that ends whoever encodes it."""

    def items(self) -> NoReturn:
        raise SystemExit(3)


DEEP: Any = 0
for _ in range(400):
    DEEP = [DEEP]
CIRCLE: Any = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, 1.5, "text", "{", [], {}, [1, "{"], {"a": 1}, {"a": "{"}, {"a": [1, [2]]}, [{"a": 1}]),
        *(
            {"a": {"b": 1}},
            Odd(a=1),
            "x" * SHORT_TEXT,
            ["x" * SHORT_TEXT, {"a": 1}],
            DEEP,
            b"raw",
            {"a": b"raw"},
            (1, {"a": 2}),
        ),
        *({1: 2}, {None: 1}, {True: 1}, {1.5: 1}, [{1: 2}], {"a": {1: 2}}, {"a": [{1: 2}]}, {"a": "{", 1: 2}),
        *(Odd({1: 2}), [Odd({1: 2})], ["x" * SHORT_TEXT, {1: 2}], {"x" * SHORT_TEXT: 1, 1: 2}, ({1: 2},)),
        *({1}, [{1}], {"a": {1}}, object, CIRCLE, {"a": CIRCLE}, "\ud800", float("nan"), 1 << 70, 1 + 2j, Hostile(a=1)),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20].encode('ascii', 'replace').decode()}",
)
@pytest.mark.parametrize("limit", [4, LIMIT])
def test_a_result_is_framed_as_result_of_says(value: Any, limit: int) -> None:
    """Whatever looks less at it: keys that aren't text are found at each level. Fails when a value with a dict within
    isn't walked through, when a dict's own keys aren't looked at, or without the limit."""
    fault, body = result_of(value, limit)
    kind, codec, flags, length, call_id = HEADER.unpack_from(frame := result_frame(value, 7, limit))

    assert (codec, flags, length, call_id) == (CODEC_JSON, 0, len(frame) - 16, 7)
    if fault is None:
        assert (kind, bytes(frame)[16:]) == (RESULT, bytes(body))
    else:
        assert (kind, decode_json(frame[16:])) == (ERROR, {each: text[: limit // 40] for each, text in fault.items()})


def test_a_long_result_is_as_deep_as_others_can_read() -> None:
    """The walk ends near 1,000 levels. Fails, from Python 3.12 on, whose encoder goes deeper, when a long text without
    a brace isn't walked through."""
    deep: Any = 0
    for _ in range(1200):
        deep = [deep]

    assert HEADER.unpack_from(result_frame(deep, 7, LIMIT))[0] == ERROR
