"""The handler: decodes pictures by a native library that can't be trusted. It imports nothing from `bridge`.

The library here is the C library itself, misused. What it does to its process is real.
"""

from __future__ import annotations

import ctypes
from typing import Final

LIBRARY: Final = ctypes.CDLL(None)
LIBRARY.malloc.argtypes, LIBRARY.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
LIBRARY.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


class Codec:
    """Decodes pictures.

    Args:
        leak: Bytes that the library forgets with each picture.
        worn_out_at: Which picture finds the library's memory corrupted by those before it; None is never.
    """

    def __init__(self, leak: int = 0, worn_out_at: int | None = None) -> None:
        self._leak, self._worn_out_at = leak, worn_out_at
        self._decoded = 0

    def decode(self, picture: bytes) -> int:
        """The number of a picture's pixels."""
        self._decoded += 1
        if picture.startswith(b"BAD"):
            ctypes.string_at(0)  # follows a null pointer: SIGSEGV
        if self._decoded == self._worn_out_at:
            LIBRARY.abort()  # what malloc does when it finds its heap corrupted: SIGABRT
        if self._leak:
            LIBRARY.memset(LIBRARY.malloc(self._leak), 1, self._leak)  # allocated, touched, and lost
        return len(picture)
