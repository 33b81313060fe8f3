"""From an upload to plain files: gzip and NPZ are unpacked to disk, counted while they expand."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from service.datasets.limits import refuse, too_large_expanded

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_MAX_ARRAYS: Final = 64
_ARRAY: Final = ".npy"


def unpacked(path: Path, folder: Path, field: str, limit: int) -> Path:
    """The file itself, or its content decompressed into ``folder``; raises InvalidInput."""
    if magic(path) != _GZIP:
        return path
    target = folder / f"{field}.unpacked"
    try:
        with gzip.open(path) as source:
            _copy(source, target, field, limit)
    except (OSError, EOFError, zlib.error):
        raise refuse(
            field, "invalid_gzip", "the gzip stream is damaged or cut off: compress it again"
        ) from None
    if magic(target) == _GZIP:
        raise refuse(field, "nested_compression", "it is compressed twice: send it compressed once")
    return target


def is_zip(path: Path) -> bool:
    """Whether it begins as a zip archive does, as NPZ files are (an empty one included)."""
    with path.open("rb") as file:
        return file.read(4) in {_ZIP, b"PK\x05\x06"}


def arrays(path: Path, field: str) -> dict[str, int]:
    """Names of the arrays in an NPZ file, with their size once decompressed as the archive states it."""
    with _archive(path, field) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith(_ARRAY)]
        if not members or len(members) != len(archive.infolist()):
            raise refuse(field, "not_npz", "the zip archive is not an NPZ file: use numpy.savez to make one")
        if len(members) > _MAX_ARRAYS:
            raise refuse(field, "too_many_arrays", f"an NPZ file may hold {_MAX_ARRAYS} arrays at most")
        return {m.filename.removesuffix(_ARRAY): m.file_size for m in members}


def extract(path: Path, name: str, folder: Path, field: str, limit: int) -> Path:
    """One array of an NPZ file as an NPY file in ``folder``; raises InvalidInput."""
    target = folder / f"{len(list(folder.iterdir()))}{_ARRAY}"
    try:
        with _archive(path, field) as archive, archive.open(name + _ARRAY) as source:
            _copy(source, target, field, limit)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError, NotImplementedError):
        # RuntimeError: encrypted; NotImplementedError: an unknown compression.
        raise refuse(
            field, "invalid_npz", f"the array {name!r} cannot be decompressed: save it again"
        ) from None
    return target


def magic(path: Path, count: int = 2) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def _archive(path: Path, field: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise refuse(field, "invalid_npz", "the zip archive is damaged or cut off: save it again") from None


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, field: str, limit: int) -> None:
    """Copy, never trusting a stated size: a bomb is stopped when it passes the limit."""
    with target.open("wb") as file:
        written = 0
        for chunk in _chunks(source):
            written += len(chunk)
            if written > limit:
                raise too_large_expanded(field, limit)
            file.write(chunk)


def _chunks(source: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk
