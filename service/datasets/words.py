"""The types of a text by their strings, on disk: in the order of their numbers, NUL before and after each.

No text holds a NUL character, so that a type is found by searching for its bytes between two of them.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_CHUNK = 100_000


def write_types(types: Sequence[str], path: Path) -> None:
    """Write them; ``types`` is not empty."""
    with path.open("wb") as file:
        file.write(b"\0")
        for start in range(0, len(types), _CHUNK):
            file.write("".join(f"{one}\0" for one in types[start : start + _CHUNK]).encode())


def ranks_of(tokens: Sequence[str], types: Path, counts: Path) -> list[int | None]:
    """The rank of each token by its count, 1 the most frequent, ties in the order of first occurrence; None: unknown.

    ``types``: as ``write_types`` has written them; ``counts``: how often each occurs, NPY.
    """
    occurrences = np.load(counts)
    with types.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = [data.find(b"\0" + token.encode() + b"\0") for token in tokens]
        numbers = [None if place < 0 else data[:place].count(b"\0") for place in places]
    return [None if number is None else _rank(occurrences, number) for number in numbers]


def _rank(counts: np.ndarray[tuple[int], np.dtype[np.int64]], number: int) -> int:
    mine = counts[number]
    return 1 + int((counts > mine).sum()) + int((counts[:number] == mine).sum())
