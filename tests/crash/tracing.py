"""Watches the system calls of another process, in the order in which they happen (Linux).

A kill cannot tell a commit that was synced from one that the kernel merely knows: the kernel
outlives the process. So the calls themselves are looked at, with ptrace(2), as strace does, but
without needing strace: it is called through ctypes, from one thread, which alone may wait for the
threads that it traces.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SEIZE, _INTERRUPT, _SYSCALL, _GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
_O_SYSGOOD, _O_CLONE = 0x1, 0x8
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_EVENT_STOP = 128
_ENTRY, _EXIT = 1, 2
_WALL, _WNOTHREAD = 0x40000000, 0x20000000
_MEMORY_BYTES_MAX = 512

_GENERIC = {64: "write", 68: "pwrite", 70: "pwrite", 82: "sync", 83: "sync", 206: "send"}
_NUMBERS = {
    "x86_64": {1: "write", 18: "pwrite", 44: "send", 74: "sync", 75: "sync", 296: "pwrite"},
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
}
"""The calls that are told, by architecture; the kernel's unistd.h."""


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info, as far as an entry or an exit needs it."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),  # an exit has its result here, and whether it failed next to it
        ("args", ctypes.c_uint64 * 6),
    )


@dataclass(frozen=True)
class SystemCall:
    """A call that begins (`done` is False) or has been done. `file` is what its descriptor is,
    `data` the first bytes of what is sent."""

    name: str
    done: bool
    file: str
    data: bytes


class CannotTrace(Exception):
    """System calls cannot be seen here; the message says what is needed."""


class Tracer:
    """Tells every write, sync and send of a process to `see`, in its own thread, from `start` until
    the process ends."""

    def __init__(self, pid: int, see: Callable[[SystemCall], None]) -> None:
        if not sys.platform.startswith("linux") or platform.machine() not in _NUMBERS:
            raise CannotTrace("needs Linux on x86-64, arm64 or riscv64, where ptrace(2) is known")
        self._names = _NUMBERS[platform.machine()]
        self._pid = pid
        self._see = see
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._libc.ptrace.restype = ctypes.c_long
        self._running: dict[int, SystemCall] = {}
        self._ready = threading.Event()
        self._failed: str | None = None
        self._thread = threading.Thread(target=self._trace, name="tracer", daemon=True)

    def start(self) -> None:
        """Returns when the process is traced. Raises `CannotTrace` where that is forbidden."""
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise CannotTrace(self._failed)

    def join(self) -> None:
        """Returns when the process has ended."""
        self._thread.join()

    def _trace(self) -> None:
        try:
            for task in os.listdir(f"/proc/{self._pid}/task"):
                self._ptrace(_SEIZE, int(task), 0, _O_SYSGOOD | _O_CLONE)
                self._ptrace(_INTERRUPT, int(task), 0, 0)
        except OSError as exc:
            self._failed = f"needs the right to trace a process of one's own (ptrace: {exc})"
            self._ready.set()
            return
        self._ready.set()
        while True:
            try:
                task_id, status = os.waitpid(-1, _WALL | _WNOTHREAD)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                try:
                    self._stopped(task_id, os.WSTOPSIG(status), status >> 16)
                except ProcessLookupError:
                    continue  # killed in the meantime

    def _stopped(self, task_id: int, number: int, event: int) -> None:
        delivered = 0
        if number == _SYSCALL_STOP:
            self._at_call(task_id)
        elif event == 0:
            delivered = number
        self._ptrace(_SYSCALL, task_id, 0, delivered)

    def _at_call(self, task_id: int) -> None:
        info = _Info()
        self._ptrace(_GET_SYSCALL_INFO, task_id, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == _ENTRY:
            name = self._names.get(info.nr)
            if name is None:
                return
            call = SystemCall(name, False, self._file(info.args[0]), self._memory(name, info))
            self._running[task_id] = call
            self._see(call)
        elif info.op == _EXIT:
            call = self._running.pop(task_id, None)
            if call is not None:
                self._see(SystemCall(call.name, True, call.file, call.data))

    def _file(self, descriptor: int) -> str:
        try:
            return os.readlink(f"/proc/{self._pid}/fd/{descriptor}")
        except OSError:
            return ""

    def _memory(self, name: str, info: _Info) -> bytes:
        if name != "send":
            return b""
        with Path(f"/proc/{self._pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(info.args[1])
            return memory.read(min(info.args[2], _MEMORY_BYTES_MAX))

    def _ptrace(self, request: int, task_id: int, address: int, data: int) -> None:
        if self._libc.ptrace(request, task_id, address, data) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
