"""PostgreSQL from a wheel, under the data directory: started, proved, recovered, stopped by its owner.

The server runs in ``data_dir/postgres`` and listens on a Unix socket that only its owner and root reach.
"""

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from service.database import postgres_binaries, postmaster
from service.errors import ServiceError
from service.settings import Settings

DATABASE: Final = "collapse"
SUPERUSER: Final = "postgres"
SOCKET: Final = ".s.PGSQL.5432"
# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
RECOVERY_TIMEOUT: Final = 600.0  # seconds that a live server may spend replaying its log
STOP_TIMEOUT: Final = 30.0

# Changes to an ordinary user, asks the kernel for SIGINT (Postgres' fast shutdown) when the owner dies, and
# becomes Postgres. A program of its own, because code between fork and exec is not safe in a process that has
# threads.
_LAUNCHER: Final = """
import os, sys
owner, uid, gid, *command = sys.argv[1:]
linux = sys.platform == "linux"
if linux:
    import ctypes  # now: the other user may not be able to read this interpreter's library
    libc = ctypes.CDLL(None)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if linux:
    libc.prctl(1, 2, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGINT; after setuid, which clears it
    if os.getppid() != int(owner):
        sys.exit("the owner of this server has gone")
os.execv(command[0], command)
"""


class EmbeddedServerError(ServiceError):
    """The embedded PostgreSQL could not be started."""

    code = "embedded_database"


class AlreadyRunningError(EmbeddedServerError):
    """Another process owns the embedded PostgreSQL of this data directory."""


def database_url(settings: Settings) -> str:
    """The database of these settings: DATABASE_URL, or the embedded server of the data directory."""
    return str(settings.database_url) if settings.database_url else embedded_url(settings.data_dir)


def embedded_url(data_dir: Path) -> str:
    """Where the embedded server of ``data_dir`` is reached while it runs (a libpq URL)."""
    return _url(data_dir, DATABASE)


def psql_command(data_dir: Path) -> str:
    """A shell command that opens psql on the embedded server."""
    return f"{postgres_binaries.directory() / 'psql'} '{embedded_url(data_dir)}'"


def _url(data_dir: Path, database: str) -> str:
    return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(_socket_directory(data_dir)), safe='')}"


def _socket_directory(data_dir: Path) -> Path:
    beside = data_dir / "postgres"
    if len(os.fsencode(beside / SOCKET)) <= LONGEST_SOCKET_PATH:
        return beside
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"collapse-{os.geteuid()}-{name}"


class EmbeddedServer:
    """The embedded server of one data directory; ``start`` and ``stop`` it from one thread.

    The thread that starts it must outlive it: on Linux the server shuts itself down when that thread's
    process dies.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.pgdata = data_dir / "postgres"
        self.log = data_dir / "postgres.log"
        self.url = embedded_url(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The postmaster, while this object owns one."""
        return self._process

    def start(self) -> None:
        """Start, first making the cluster and its database where they are missing; return once it answers.

        Raises AlreadyRunningError where another process owns it, EmbeddedServerError with the end of the
        server's log where it does not start.
        """
        self.reserve()
        try:
            owner = postgres_binaries.server_owner(self.pgdata)
            bin_dir = postgres_binaries.directory(owner)
            postmaster.clear(self.pgdata, _socket_directory(self.data_dir))
            if not (self.pgdata / "PG_VERSION").exists():
                self._create_cluster(bin_dir, owner)
            self._check_version()
            self._launch(bin_dir, owner)
            self._wait_until_it_answers()
            self._create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down cleanly: connections are closed, transactions in flight rolled back."""
        process, self._process = self._process, None
        if process is not None:
            for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(request)
                try:
                    process.wait(STOP_TIMEOUT)
                    break
                except subprocess.TimeoutExpired:
                    continue
        sockets = _socket_directory(self.data_dir)
        if process is not None and sockets != self.pgdata:
            with contextlib.suppress(OSError):
                sockets.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    def reserve(self) -> None:
        """Claim the data directory for this object, until ``stop``. Raises AlreadyRunningError."""
        if self._lock is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # The kernel frees the lock with its holder, however that ends. Append: the file names the holder
        # meanwhile.
        lock = (self.data_dir / "postgres.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise AlreadyRunningError(
                f"A service is already running on {self.data_dir} (process {holder}): stop it first, "
                "or set DATA_DIR to another directory."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _create_cluster(self, bin_dir: Path, owner: postgres_binaries.Owner) -> None:
        """Made aside and renamed, so that one killed half-way is never taken for a cluster."""
        aside = self.data_dir / "postgres.new"
        postmaster.clear(aside)
        postgres_binaries.remove_tree(aside)
        aside.mkdir(mode=0o700)
        os.chown(aside, owner.uid, owner.gid)
        made = subprocess.run(
            [
                *self._as(owner),
                str(bin_dir / "initdb"),
                *("-D", postgres_binaries.seen_by(owner, aside)),
                *("--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
            ],
            cwd=aside,
            env=postgres_binaries.ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise EmbeddedServerError(
                f"initdb failed in {self.data_dir}: {made.stderr.strip() or made.stdout.strip()}"
            )
        if self.pgdata.exists():
            self.pgdata.rmdir()  # an empty one is fine, anything else is not ours to remove
        aside.rename(self.pgdata)

    def _check_version(self) -> None:
        found = (self.pgdata / "PG_VERSION").read_text().strip()
        if found != postgres_binaries.MAJOR_VERSION:
            raise EmbeddedServerError(
                f"{self.pgdata} was made by PostgreSQL {found}, this version brings "
                f"{postgres_binaries.MAJOR_VERSION}: dump it with the old version and restore it."
            )

    def _launch(self, bin_dir: Path, owner: postgres_binaries.Owner) -> None:
        sockets = _socket_directory(self.data_dir)
        if sockets != self.pgdata:
            _private_directory(sockets, owner)
        # The server's working directory is its data directory: "." is the shortest name for it.
        listen_in = "." if sockets == self.pgdata else str(sockets)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as(owner),
                    str(bin_dir / "postgres"),
                    *("-D", postgres_binaries.seen_by(owner, self.pgdata)),
                    *("-k", listen_in, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                    *("-c", "port=5432", "-c", "log_checkpoints=off"),
                ],
                cwd=self.pgdata,
                env=postgres_binaries.ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for the owner, who stops things in order
            )

    def _as(self, owner: postgres_binaries.Owner) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(owner.uid), str(owner.gid)]

    def _wait_until_it_answers(self) -> None:
        """Only a connection proves a start; a server that replays its log says so and is waited for."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        while True:
            try:
                with psycopg.connect(_url(self.data_dir, "postgres"), connect_timeout=2) as connection:
                    connection.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if not self.running() or time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"PostgreSQL did not start in {self.pgdata}. {self.log} ends:\n{self._log_end()}"
                    ) from error
            time.sleep(0.02)

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def _create_database(self) -> None:
        with psycopg.connect(_url(self.data_dir, "postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _private_directory(path: Path, owner: postgres_binaries.Owner) -> None:
    """A directory in the shared temporary directory; one that somebody else made is refused."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in (owner.uid, os.geteuid()):
        raise EmbeddedServerError(f"{path} belongs to another user: remove it, or choose a shorter DATA_DIR.")
    path.chmod(0o700)
    os.chown(path, owner.uid, owner.gid)
