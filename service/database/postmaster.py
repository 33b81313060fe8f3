"""Makes a data directory ready for a start, whatever was killed before: leftover servers, stale pid files."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Final

import psutil

_PATIENCE: Final = 15.0  # seconds per request to leave


def clear(pgdata: Path, sockets: Path | None = None) -> None:
    """Stop a server that is still running in ``pgdata`` and remove pid files with nobody behind them.

    ``sockets``: the directory of its socket, where the server keeps a second one (default: ``pgdata``).

    Call it while holding the data directory's lock: then a server found here has lost its owner. A pid alone
    proves nothing (it may be a zombie's, or recycled); a live postgres process that works in this directory
    does.
    """
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        left = _processes(pgdata)
        if not left:
            break
        for process in _roots(left) if request is not signal.SIGKILL else left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(request)
        _wait_until_gone(pgdata, _PATIENCE)
    (pgdata / "postmaster.pid").unlink(missing_ok=True)
    for lock in (sockets or pgdata).glob(".s.PGSQL.*.lock"):
        lock.unlink()


def _wait_until_gone(pgdata: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while _processes(pgdata) and time.monotonic() < deadline:
        time.sleep(0.05)


def _processes(pgdata: Path) -> list[psutil.Process]:
    """Live postgres processes that work in ``pgdata``: every process of its server, and no other."""
    where = str(pgdata.resolve())
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_postgres = process.name().startswith("postgres")
            if is_postgres and process.status() != psutil.STATUS_ZOMBIE and process.cwd() == where:
                found.append(process)
    return found


def _roots(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are no child of another one: the postmaster, or what a killed one left behind."""
    pids = {process.pid for process in processes}
    roots = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                roots.append(process)
    return roots
