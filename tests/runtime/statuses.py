"""A bridge that serves its status, and whoever asks for it."""

from __future__ import annotations

import json
import socket
from typing import Any

import bridge


def opened(handlers: str, path: str, **settings: Any) -> bridge.Bridge:
    """A bridge that serves its status there; `with` opens it."""
    settings = {"adapter": "bridge_mock", "size": 1, "name": "shop", **settings}
    return bridge.connect(f"{handlers}:Echo", status_socket=path, **settings)


def ask(path: str) -> Any:
    """One reading."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        data = b""
        while piece := client.recv(65536):
            data += piece
    return json.loads(data)
