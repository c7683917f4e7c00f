"""What `new-handler` writes.

Rules: `$$` stands for a dollar (string.Template). The handler runs in any Python from 3.8 on and imports nothing of
ours; its tests show the three ways to answer a call. Apart from __init__.py because this is a user's code, not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

HANDLER: Final = '''\
"""The handler $Class. It runs in worker processes, which scoped-bridge starts and calls.

It is a plain class: nothing of `bridge` is imported here. Public methods are commands. What they are given and what
they return is JSON, or bytes, or buffers such as NumPy's arrays.
"""


class $Class:
    """One in each worker. Load in `__init__` what takes long: it is called once, with the setting `worker.options`."""

    def __init__(self, greeting="hello"):
        self._greeting = greeting

    def greet(self, name):
        """A command. What it raises, its caller gets as bridge.RemoteError."""
        return {"text": f"{self._greeting}, {name}"}

    def count(self, items):
        """A generator is a stream: `for item in b.stream("count", [3])`."""
        yield from range(items)

    def on_close(self):
        """A hook, never a command: called when the worker is told to end."""
'''

TESTS: Final = '''\
"""$Class by itself, on a mock, on the real protocol without a process, and in a worker process."""

from pathlib import Path

import pytest

import bridge
from $dotted import $Class

HANDLER = f"{Path(__file__).with_name('$module.py')}:$Class"


def shout(b, name):
    """Stands for your application: code that is given a bridge, and calls it."""
    return b.call("greet", {"name": name})["text"].upper()


def check(b):
    """What holds wherever the handler runs."""
    assert b.call("greet", ["ada"]) == {"text": "hello, ada"}
    assert list(b.stream("count", [3])) == [0, 1, 2]
    assert shout(b, "ada") == "HELLO, ADA"
    with pytest.raises(bridge.CallError):
        b.call("greet", {"nam": "ada"})


def test_by_itself():
    """It is a plain class."""
    assert $Class(greeting="hi").greet("ada") == {"text": "hi, ada"}


def test_the_application_on_a_mock():
    """No handler runs. `spec` refuses calls that the real one wouldn't take."""
    mock = bridge.MockAdapter({"greet": {"text": "oh"}}, spec=$Class)
    with bridge.connect(HANDLER, adapter=mock) as b:
        assert shout(b, "ada") == "OH"
    assert [(call.command, call.args) for call in mock.calls] == [("greet", {"name": "ada"})]


@pytest.mark.bridge_adapter("bridge_mock", handler=HANDLER, size=1)
def test_on_the_real_protocol(bridge_client):
    """In a thread here: breakpoints, coverage and monkeypatch work in the handler."""
    check(bridge_client)


@pytest.mark.bridge_adapter("python_port", handler=HANDLER, size=1, options={"greeting": "hello"})
def test_in_a_worker_process(bridge_client):
    """As in production."""
    check(bridge_client)
'''

FILES: Final[Mapping[str, str]] = MappingProxyType({"$module.py": HANDLER, "test_$module.py": TESTS})

NEXT: Final = """\
$path: the handler, whose public methods are commands
$tests: its tests

Next:
  python -m pytest $tests
  python -m bridge doctor $path:$Class
  python -m bridge call $path:$Class greet '{"name": "ada"}'
In a program:
  with bridge.connect("$dotted:$Class") as b: b.call("greet", {"name": "ada"})
"""
