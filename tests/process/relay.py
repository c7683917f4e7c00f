"""A launcher over TCP, and what it talks to: it begins a worker in another network namespace and carries its frames.

    python relay.py agent ADDRESS PORT
    python relay.py launch ADDRESS PORT COMMAND...

Rules: standard library only; it knows of a worker only that it has a stdin and a stdout. Apart from the test,
since both ends are programs.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Final

HERE: Final = os.path.abspath(__file__)
CHUNK: Final = 65536


def agent(address: str, port: int) -> None:
    """Begin a worker for each connection."""
    with socket.create_server((address, port)) as server:
        print("listening", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    """One worker, until the connection ends."""
    with connection, connection.makefile("rb") as incoming:
        command = json.loads(incoming.readline())
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert worker.stdin is not None
        assert worker.stdout is not None
        threading.Thread(target=carry_out, args=(worker.stdout.fileno(), connection), daemon=True).start()
        try:
            while data := incoming.read1(CHUNK):
                write_all(worker.stdin.fileno(), data)
        except OSError:
            pass  # either end is gone, which is what we wait for
        worker.kill()
        worker.wait()


def carry_out(fd: int, connection: socket.socket) -> None:
    """From a descriptor to the other side, until its end."""
    try:
        while data := os.read(fd, CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the connection is gone: whoever reads from it hears the same


def write_all(fd: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(fd, data) :]


def launch(address: str, port: int, command: list[str]) -> None:
    """Be a worker to whoever started us, until it, or the connection, ends."""
    with socket.create_connection((address, port)) as connection:
        connection.sendall(json.dumps(command).encode() + b"\n")
        threading.Thread(target=carry_out, args=(0, connection), daemon=True).start()
        while data := connection.recv(CHUNK):
            write_all(1, data)


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent(sys.argv[2], int(sys.argv[3]))
    else:
        launch(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
