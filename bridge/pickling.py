"""Pickle in place of JSON, for workers that are trusted: what a call is, and what becomes of results and exceptions.

Rules: standard library only, Python 3.8 syntax; a worker loads this file beside worker.py when the first pickled call
comes, and a caller at its own first one, since pickle is imported here. Whatever unpickling raises is an answer, or an
error of the call. Apart from wire.py, which has the codec that everybody needs.
"""

import os
import sys
from io import BytesIO
from pickle import Pickler, Unpickler, dumps

from bridge.handler import TOO_LONG, fault_frame
from bridge.wire import CODEC_PICKLE, ERROR, RICH, NotEncodable, beside, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

VERSION = 5  # of pickle's protocol: Python 3.8 has it
ASIDE = 32768
"""Bytes of a buffer that stands behind the pickle."""


def encode(value: "Any") -> "Any":
    """The pickle of a value, its long buffers behind it: bytes, or a Rope of them. Raises NotEncodable, whatever its
    classes do when they are asked."""
    file = BytesIO()
    buffers: "List[memoryview]" = []

    def aside(buffer: "Any") -> bool:
        """Whether it stays in the pickle."""
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if len(view) < ASIDE:
            return True
        buffers.append(view)
        return False

    try:
        Pickler(file, VERSION, buffer_callback=aside).dump(value)
    except Exception as error:
        raise NotEncodable("it can't be pickled (%s: %s)" % (type(error).__name__, error)) from error
    if buffers:
        return beside("buffers").joined(file.getvalue(), buffers)
    return file.getvalue()


def decode(body: "Any", main: "Optional[Dict[str, str]]" = None) -> "Any":
    """The value of a pickle. Raises ValueError, whatever its classes do when they are made.

    Args:
        main: Where the caller's program lies, in a worker.
    """
    try:
        buffers: "Any" = ()
        if len(body) and body[0] == RICH:
            body, buffers = beside("buffers").split(body)
        return Reader(BytesIO(body), main, map(_own, buffers)).load()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError("it can't be unpickled (%s: %s)" % (type(error).__name__, error)) from error


def _own(piece: memoryview) -> "Any":
    """A buffer that arrived, which whoever unpickles it may change."""
    return bytearray(piece) if piece.readonly else piece


class Reader(Unpickler):
    """Finds what the caller's program defines, in a worker that was started by another one, and back here.

    Args:
        main: Where that program lies, in a worker.
        buffers: That stood behind the pickle.
    """

    def __init__(self, file: BytesIO, main: "Optional[Dict[str, str]]", buffers: "Iterable[Any]" = ()) -> None:
        super().__init__(file, buffers=buffers)
        self._main = main

    def find_class(self, module: str, name: str) -> "Any":
        """What a pickle names."""
        if module == "bridge.pickling":  # this very file, whether or not the package can be imported here
            return globals()[name]
        if module == "__main__" and self._main:
            take_up(self._main)
        elif module == "__mp_main__" and module not in sys.modules:  # as the worker has its name
            module = "__main__"
        return super().find_class(module, name)


def program() -> "Dict[str, str]":
    """Where this process's program lies: its module's name, or its file; empty if it has neither.

    Raises:
        RuntimeError: It is being imported in a worker.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and getattr(processes.current_process(), "_inheriting", False):
        raise RuntimeError(
            "the program is being imported by a worker of its own, and starts workers there: "
            "put what starts them below `if __name__ == '__main__':`"
        )
    main = sys.modules.get("__main__")
    name, file = getattr(getattr(main, "__spec__", None), "name", None), getattr(main, "__file__", None)
    if name is not None:
        return {"name": name}
    return {"path": os.path.abspath(file)} if file else {}


def take_up(main: "Dict[str, str]") -> None:
    """Import the caller's program as `__main__` here, as multiprocessing's `spawn` does. Once; never in its own."""
    if program() == main:
        return
    from multiprocessing import process, spawn

    me = process.current_process()
    me._inheriting = True  # type: ignore[attr-defined]  # noqa: SLF001  what starts workers looks at it
    try:
        if "name" in main:
            spawn._fixup_main_from_name(main["name"])  # type: ignore[attr-defined]  # noqa: SLF001
        else:
            spawn._fixup_main_from_path(main["path"])  # type: ignore[attr-defined]  # noqa: SLF001
    finally:
        del me._inheriting  # type: ignore[attr-defined]  # noqa: SLF001


class Coding:
    """What a worker does with calls that are pickled.

    Args:
        main: Where the caller's program lies.
    """

    def __init__(self, main: "Dict[str, str]") -> None:
        self._main = main

    def given(
        self, body: "Any", commands: "Dict[str, Callable[..., Any]]"
    ) -> "Tuple[str, Any, Optional[Callable[..., Any]]]":
        """The command, its args, and what is to be called. Raises ValueError."""
        command, args = decode(body, self._main)
        if isinstance(command, str):
            return command, args, commands.get(command)
        positional, named = args

        def direct() -> "Any":
            return command(*positional, **named)

        return "", None, direct

    def result_of(self, value: "Any", limit: int) -> "Tuple[Optional[Dict[str, str]], bytes]":
        """As handler.result_of."""
        try:
            body = encode(value)
        except NotEncodable as error:
            if type(value).__name__ == "coroutine":
                value.close()
            return {"kind": "result", "message": "the result: %s" % error}, b""
        if len(body) > limit:
            return {"kind": "result", "message": TOO_LONG % (len(body), limit)}, b""
        return None, body

    def decoded(self, text: str) -> "Any":
        """The value of a pickle in base64."""
        from base64 import b64decode

        return decode(b64decode(text), self._main)

    def error_frame(self, call_id: int, limit: int, fault: "Dict[str, str]", error: BaseException) -> bytes:
        """An ERROR frame, with the exception itself behind its fields if that can travel."""
        if fault["kind"] == "raised":
            try:
                original = dumps(error, VERSION)
                decode(original)
                body = dumps((fault, original), VERSION)
            except Exception:  # whatever its class does when it is asked: its fields travel without it
                body = b""
            if 0 < len(body) <= limit:
                return pack(ERROR, call_id, body, CODEC_PICKLE)
        return fault_frame(ERROR, call_id, limit, **fault)


class Prepared:
    """The handler of workers that run an executor's initializer first.

    Args:
        main: Where the caller's program lies.
        pickled: Base64 of a pickle: the initializer and its arguments.
    """

    def __init__(self, main: "Dict[str, str]", pickled: str) -> None:
        initializer, initargs = Coding(main).decoded(pickled)
        initializer(*initargs)


def run_each(function: "Callable[..., Any]", items: "Iterable[Tuple[Any, ...]]") -> "List[Any]":
    """Call a function for each of some items: a chunk of an executor's `map`."""
    return [function(*item) for item in items]
