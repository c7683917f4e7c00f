"""A launcher as ssh is one: what it starts is in another session and has another environment, and isn't its child.

Rules: it carries bytes both ways, and hangs up when it dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def carry(source: int, target: int) -> None:
    """All that comes."""
    while data := os.read(source, 65536):
        while data:
            data = data[os.write(target, data) :]
    os.close(target)


if __name__ == "__main__":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("_SCOPED")}
    far = subprocess.Popen(
        ["sh", "-c", " ".join(sys.argv[1:])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )
    assert far.stdin is not None
    assert far.stdout is not None
    threading.Thread(target=carry, args=(0, far.stdin.fileno()), daemon=True).start()
    carry(far.stdout.fileno(), 1)
    os._exit(far.wait() % 256)
