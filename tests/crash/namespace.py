"""A network of this process's own, whose loopback can lose every packet (Linux).

Where the kernel allows it, a process leaves the machine's network for one that holds nothing but
a loopback of its own: programs that it starts are in there with it. With the loopback down packets
are lost, connections stay, and TCP sends again, as on a network that is cut.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_SET_FLAGS, _GET_FLAGS, _UP = 0x8914, 0x8913, 0x1
_REQUEST = "16sh14x"
"""struct ifreq with flags; the numbers are those of linux/sched.h, sockios.h and if.h."""


def enter() -> bool:
    """Moves this process into a network of its own, with its loopback up. False where that is not
    allowed: then nothing has changed. To be called before the process has other threads."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER
    if libc.unshare(flags) != 0:
        return False
    Loopback().mend()
    return True


class Loopback:
    """The loopback of the network that this process is in."""

    def hold(self) -> None:
        """From now on every packet is lost."""
        self._set(0)

    def mend(self) -> None:
        """Packets come through again."""
        self._set(_UP)

    def _set(self, up: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            request = struct.pack(_REQUEST, b"lo", 0)
            _, flags = struct.unpack(_REQUEST, fcntl.ioctl(asked, _GET_FLAGS, request))
            request = struct.pack(_REQUEST, b"lo", (flags & ~_UP) | up)
            fcntl.ioctl(asked, _SET_FLAGS, request)
