"""A spawned process that computes one call after another, at the other end of a pipe of its own.

No two children share a pipe or a lock: one that is killed at any moment, while it takes its work or sends its
answer, leaves nothing behind that another one waits for.
"""

import importlib
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from service.processes import give_way, leave_with_parent

# Shards are the parallelism: a library's own threads would only fight over the same cores.
_THREAD_LIMITS: Final = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
# The small matrices of a fit are made and dropped again and again: glibc would give them back to the kernel each time,
# which fills every page anew. Freed arrays of up to 32 MiB are kept for the next one, 128 MiB at most.
_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20)}
ENVIRONMENT: Final = {**dict.fromkeys(_THREAD_LIMITS, "1"), **_MEMORY}
"""Inherited by every child, before it starts."""

_MOMENT: Final = 0.001  # seconds
_spawn: Final = multiprocessing.get_context("spawn")


class ChildDied(Exception):
    """The process ended before it answered; the message says how."""


class DiedIdle(ChildDied):
    """The process ended before it took the call, which is not to blame."""


class CallFailed(Exception):
    """The call raised; the message is the exception's name and text."""


class Child:
    """One process; its methods block and are called by one thread at a time, but ``kill`` by any.

    Make it in a thread that lives as long as the child is to live: where the kernel ends a child with its parent,
    it ends it with the thread that started it.
    """

    def __init__(self, preload: str) -> None:
        """Starts the process, which imports the module ``preload`` while it waits for its first call."""
        os.environ.update(ENVIRONMENT)
        self._connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, os.getpid(), preload), daemon=True)
        self._process.start()
        theirs.close()  # with the child goes the only other end: waiting for its answer ends
        self.ready = False
        """Whether it has said that it can take a call."""

    @property
    def alive(self) -> bool:
        """Whether the process runs, or at least did a moment ago."""
        return self._process.is_alive()

    def begin(self) -> None:
        """Wait until the process is ready for a call. Raises ChildDied."""
        if not self.ready:
            self._answer()
            self.ready = True

    def call(self, function: Callable[..., Any], args: tuple[object, ...]) -> Any:
        """``function(*args)`` in the process. Raises CallFailed, ChildDied, DiedIdle."""
        work = pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)
        try:
            self._connection.send_bytes(work)
            self._connection.recv_bytes()  # it has taken the call
        except (EOFError, OSError):
            raise DiedIdle(str(self._died())) from None
        return self._answer()

    def kill(self) -> None:
        """End the process at once, whatever it does; a call under way raises ChildDied."""
        self._process.kill()

    def join(self) -> None:
        """Wait for the end of the process and forget it."""
        self._process.join()
        self._connection.close()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._died() from None
        value, failure = pickle.loads(answer)
        if failure is not None:
            raise CallFailed(failure)
        return value

    def _died(self) -> ChildDied:
        self._process.join()
        while (code := self._process.exitcode) is None:
            time.sleep(_MOMENT)  # another thread, starting a child, is just collecting the dead
        if code >= 0:
            return ChildDied(f"exit code {code}")
        name = signal.Signals(-code).name
        return ChildDied(f"{name}, perhaps out of memory" if name == "SIGKILL" else name)


def _serve(connection: Connection, parent: int, preload: str) -> None:
    """What the process does: answer call after call with (value, None) or (None, what went wrong)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets the shard finish
    leave_with_parent(parent, signal.SIGKILL)
    give_way()
    importlib.import_module(preload)
    connection.send_bytes(pickle.dumps((None, None)))
    while True:
        try:
            work = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(b"")  # taken: from here on it is the call that may be to blame
        connection.send_bytes(_answer_to(work))


def _answer_to(work: bytes) -> bytes:
    try:
        function, args = pickle.loads(work)
        return pickle.dumps((function(*args), None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((None, f"{type(error).__name__}: {error}"))
