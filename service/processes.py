"""The processes that the supervisor starts, and how each leaves when its parent has gone, however it went."""

import contextlib
import ctypes
import os
import platform
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_POLL: Final = 0.5  # seconds
NICENESS: Final = 10
"""Of simulations: predictions, health checks and heartbeats come before them."""
_TURN: Final = 100_000_000  # nanoseconds; the longest that Linux grants
_SCHED_SETATTR: Final = {
    "x86_64": 314,
    "aarch64": 274,
}  # numbers of the system call, which glibc does not wrap
_GRACE: Final = 5  # seconds that requests under way get when the API stops


def leave_with_parent(parent: int, leave_by: signal.Signals) -> None:
    """Send this process ``leave_by`` once the process ``parent`` is no longer its parent.

    On Linux the kernel does it, at once and even while a long computation holds the interpreter's lock; a thread
    watches besides, for other systems and for a parent that went before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(leave_by), 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL)
        os.kill(os.getpid(), leave_by)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _give_way_as_a_session() -> None:
    """Let this session, a worker with its children, use what computing time others leave: predictions come first.

    Linux may divide time between sessions before it looks at the niceness of processes (sched_autogroup); the
    supervisor gives each of its parts a session of its own.
    """
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # another system, or a Linux without it
            Path("/proc/self/autogroup").write_text(str(NICENESS))


class _Scheduling(ctypes.Structure):
    """struct sched_attr of Linux."""

    _fields_ = [
        ("size", ctypes.c_uint32), ("policy", ctypes.c_uint32), ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32), ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64), ("deadline", ctypes.c_uint64), ("period", ctypes.c_uint64),
    ]  # fmt: skip


def give_way() -> None:
    """Let this process, which computes for a simulation, wait for everyone else.

    Besides its niceness it asks for the longest turns: from Linux 6.12 on a process that wakes up with shorter ones,
    as all others have, takes the core at once instead of waiting for the end of the turn. Elsewhere nothing changes.
    """
    os.nice(NICENESS)
    call = _SCHED_SETATTR.get(platform.machine())
    if sys.platform == "linux" and call is not None:
        wanted = _Scheduling(nice=os.getpriority(os.PRIO_PROCESS, 0), runtime=_TURN)
        wanted.size = ctypes.sizeof(wanted)
        ctypes.CDLL(None).syscall(call, 0, ctypes.byref(wanted), 0)


def _api(listening: int) -> None:
    """Serve the API on a socket that the supervisor listens on: it outlives a crash of this process."""
    import uvicorn  # here: the worker does not need it

    config = uvicorn.Config(
        "service.app:create_app",
        factory=True,
        log_config=None,  # the app sets up its own logs
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _worker() -> None:
    from service.settings import Settings  # here: the API does not need them
    from service.worker import run_worker

    _give_way_as_a_session()
    run_worker(Settings())


def main() -> None:
    """``python -m service.processes api PARENT SOCKET`` or ``worker PARENT``; the supervisor's business."""
    role, parent, *rest = sys.argv[1:]
    leave_with_parent(int(parent), signal.SIGTERM)
    if role == "api":
        _api(int(rest[0]))
    else:
        _worker()


if __name__ == "__main__":
    main()
