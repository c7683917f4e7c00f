"""Run a command where there is no network but loopback: `unshare --net python -m tests.interop.loopback COMMAND ...`.

For programs some of whose servers listen on every interface. In a namespace that was just made loopback isn't up.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from typing import Final

SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1


def is_alone() -> bool:
    """Whether nobody outside can come here: no interface but loopback, and tunnels that lead nowhere, is up."""
    return {name for _, name in socket.if_nameindex()} <= {
        "lo",
        "sit0",
        "tunl0",
        "ip6tnl0",
        "gre0",
        "erspan0",
        "gretap0",
    }


def main() -> None:
    """Make loopback usable, and become the command."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
