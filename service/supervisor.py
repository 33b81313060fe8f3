"""``collapse up``: the embedded database, the API and a worker, started in order, kept alive, stopped in order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Final

from service import __version__
from service.database.embedded import (
    AlreadyRunningError,
    EmbeddedServer,
    database_url,
    psql_command,
)
from service.database.engine import sqlalchemy_url
from service.database.migrate import migrate
from service.errors import ServiceError
from service.settings import Settings

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_BUSY: Final = 6  # the data directory or the port is another one's

_READY_TIMEOUT: Final = 60.0  # seconds
_POLL: Final = 0.1
_STOP_EXTRA: Final = 15.0  # seconds beyond the worker's drain time, after which a child is killed
_RESTART_AFTER: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds, by the number of crashes in a row
_CALM: Final = 60.0  # seconds of life after which the next crash counts as the first
_BACKLOG: Final = 2048
# glibc hands the arrays of a mix's prediction back to the system and asks for them anew: a sixth of its time
_ALLOCATOR: Final = {"MALLOC_TRIM_THRESHOLD_": "8000000", "MALLOC_MMAP_THRESHOLD_": "4000000"}


def run(settings: Settings) -> int:
    """Run the service until SIGINT or SIGTERM; returns the exit code (0: stopped as asked)."""
    return _Supervisor(settings).run()


class _StartFailed(Exception):
    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class _Child:
    name: str
    command: list[str]
    environment: dict[str, str]
    sockets: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    crashes: int = 0
    started: float = 0.0
    start_at: float = field(default=0.0)

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            pass_fds=self.sockets,
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops things in order
        )


class _Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server = EmbeddedServer(settings.data_dir) if settings.database_url is None else None
        self._children: list[_Child] = []
        self._stopping = False
        self._database_crashes = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            self._start()
            while not self._stopping:
                self._look_after()
                time.sleep(_POLL)
        except _StartFailed as error:
            print(f"collapse: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        finally:
            self._stop_everything()
        return EXIT_OK

    def _on_signal(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signature is Python's
        self._stopping = True

    # --- start --------------------------------------------------------------------------------------

    def _start(self) -> None:
        settings = self._settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        _say(f"collapse {__version__}, data in {settings.data_dir}")
        try:
            if self._server is not None:
                self._server.reserve()
            listening = self._listen()
            if self._server is not None:
                _say("starting PostgreSQL")
                self._server.start()
            _say("bringing the database to this version's schema")
            migrate(database_url(settings))
        except AlreadyRunningError as error:
            raise _StartFailed(error.detail, EXIT_BUSY) from error
        except ServiceError as error:
            raise _StartFailed(error.detail) from error
        port = listening.getsockname()[1]
        environment = _environment(settings, port)
        python = [sys.executable, "-m", "service.processes"]
        me = str(os.getpid())
        fd = listening.fileno()
        self._children = [
            _Child("API", [*python, "api", me, str(fd)], environment, (fd,)),
            _Child("worker", [*python, "worker", me], environment),
        ]
        self._listening = listening
        if self._stopping:
            return
        _say("starting the API and a worker")
        for child in self._children:
            child.start()
        url = f"http://{_reachable(settings.host)}:{port}"
        self._wait_until_ready(url)
        if not self._stopping:
            _say(f"ready: {url} (documentation: {url}/docs); database: {self._how_to_reach_the_database()}")

    def _listen(self) -> socket.socket:
        """Listen here: the port is known to be ours, and clients wait while a crashed API is restarted."""
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise _StartFailed(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what uses that port, or set PORT to another"
                " (0 takes a free one).",
                EXIT_BUSY,
            ) from error

    def _wait_until_ready(self, url: str) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not self._stopping and not _is_ready(url):
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    raise _StartFailed(
                        f"the {child.name} ended while starting ({_ending(child.process.returncode)})"
                    )
            if time.monotonic() > deadline:
                raise _StartFailed(f"the service is not ready after {_READY_TIMEOUT:g} seconds")
            time.sleep(_POLL)

    def _how_to_reach_the_database(self) -> str:
        if self._settings.database_url is None:
            return psql_command(self._settings.data_dir)
        url = sqlalchemy_url(str(self._settings.database_url)).set(drivername="postgresql")
        return f"psql '{url.render_as_string(hide_password=True)}'"

    # --- life ---------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        if self._server is not None and not self._server.running():
            self._restart_database(self._server)
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    child.start()
            elif child.process.poll() is not None:
                child.crashes = 1 if now - child.started > _CALM else child.crashes + 1
                wait = _RESTART_AFTER[min(child.crashes, len(_RESTART_AFTER)) - 1]
                _say(f"the {child.name} ended ({_ending(child.process.returncode)}); starting it again")
                child.process, child.start_at = None, now + wait

    def _restart_database(self, server: EmbeddedServer) -> None:
        _say("PostgreSQL ended; starting it again")
        time.sleep(_RESTART_AFTER[min(self._database_crashes, len(_RESTART_AFTER) - 1)])
        try:
            server.start()
            self._database_crashes = 0
        except ServiceError as error:
            self._database_crashes += 1
            _say(error.detail)

    # --- stop ---------------------------------------------------------------------------------------

    def _stop_everything(self) -> None:
        running = [child for child in self._children if child.process is not None]
        if running:
            _say("stopping")
        for child in running:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + self._settings.drain_timeout + _STOP_EXTRA
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _say(f"the {child.name} does not stop; killing it")
                child.process.kill()
                child.process.wait()
        if self._server is not None:
            self._server.stop()
        if running:
            _say("stopped")


def _environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment of a child: exactly these settings, one thread per numerical library, and freed memory kept."""
    values = {name.upper(): str(value) for name, value in settings if value is not None}
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**threads, **_ALLOCATOR, **os.environ, **values, "PORT": str(port)}


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _is_ready(url: str) -> bool:
    """Whether the API is ready and a worker has sent a heartbeat."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=5) as response:
            return bool(json.load(response)["live_workers"] > 0)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _say(line: str) -> None:
    print(line, flush=True)
