"""NPY and IDX files as chunks of float64 rows, through a memory map: nothing is loaded whole."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.containers import magic
from service.datasets.limits import CHUNK_NUMBERS, refuse
from service.theory.model import Array

NPY: Final = b"\x93NUMPY"
_IDX_TYPES: Final = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

AnyArray = NDArray[Any]


def is_npy(path: Path) -> bool:
    """Whether it begins as NPY files do."""
    return magic(path, len(NPY)) == NPY


def is_idx(path: Path) -> bool:
    """Whether it begins as IDX files (the format of MNIST) do: two zero bytes, a type, a number of axes."""
    head = magic(path, 4)
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= 8


def open_npy(path: Path, field: str) -> AnyArray:
    """The array of an NPY file, mapped; raises InvalidInput, also for pickles, which are never loaded."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, TypeError, MemoryError) as error:
        if "Python objects in dtype" in str(error) or "allow_pickle" in str(error):
            raise refuse(
                field, "pickle", "object arrays are pickles, which are not read: save numbers"
            ) from None
        raise refuse(
            field, "invalid_npy", "the NPY file is damaged, cut off or empty: save it again with numpy.save"
        ) from None


def open_idx(path: Path, field: str) -> AnyArray:
    """The array of an IDX file, mapped; raises InvalidInput where its size is not what its head says."""
    with path.open("rb") as file:
        head = file.read(4)
        raw = file.read(4 * head[3])
    if len(raw) < 4 * head[3]:
        raise refuse(field, "invalid_idx", "the IDX file is cut off within its head")
    shape = struct.unpack(f">{head[3]}I", raw)
    kind = np.dtype(_IDX_TYPES[head[2]])
    offset = 4 + 4 * head[3]
    expected, found = offset + math.prod(shape) * kind.itemsize, path.stat().st_size
    if found != expected:
        raise refuse(
            field, "invalid_idx", f"an IDX file of shape {shape} has {expected} bytes; this has {found}"
        )
    if 0 in shape:
        raise refuse(field, "empty", "the file holds no rows")
    return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)


def check_numeric(array: AnyArray, field: str) -> None:
    """Refuse what is not numbers (or booleans)."""
    if array.dtype.kind not in "biuf":
        raise refuse(
            field,
            "wrong_dtype",
            f"the array is of type {array.dtype.name}; real numbers or booleans are needed",
        )


def row_chunks(array: AnyArray) -> Iterator[Array]:
    """Rows as float64, further axes flattened, about ``CHUNK_NUMBERS`` numbers at a time."""
    columns = math.prod(array.shape[1:])
    step = max(1, CHUNK_NUMBERS // max(columns, 1))
    for start in range(0, len(array), step):
        chunk = array[start : start + step]
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what does not fit becomes infinite, and is refused
            rows = np.ascontiguousarray(chunk, dtype=np.float64).reshape(len(chunk), columns)
        yield rows
