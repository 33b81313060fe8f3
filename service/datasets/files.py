"""Rows on disk: NPY files under the rows directory, named by what is in them."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ABANDONED: Final = 24 * 3600.0  # seconds after which a working folder's owner has certainly died


def rows_path(rows_dir: Path, rows_hash: str) -> Path:
    """The population's rows; shared by every description of the same rows."""
    return rows_dir / f"{rows_hash}.npy"


def truth_path(rows_dir: Path, dataset_id: str) -> Path:
    """The target function's values on those rows, of one description."""
    return rows_dir / f"{dataset_id}.npy"


def types_path(rows_dir: Path, dataset_id: str) -> Path:
    """The types of a text by their strings, of one description."""
    return rows_dir / f"{dataset_id}.types"


@contextmanager
def working_folder(rows_dir: Path) -> Iterator[Path]:
    """An empty folder beside the rows, gone afterwards; clears those that dead processes left."""
    incoming = rows_dir / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for old in incoming.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=incoming))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(source: Path, destination: Path) -> None:
    """Move a finished file into place: it is there whole, on disk, or not at all."""
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(destination)


def remove(path: Path) -> None:
    """Delete a file that may be gone already."""
    path.unlink(missing_ok=True)
