"""One table of numbers as it was uploaded, whatever its format."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from service.datasets.limits import refuse, shown
from service.theory.model import Array

_LISTED: Final = 20


@dataclass(frozen=True)
class Matrix:
    """Numbers in rows and columns, read in chunks of rows.

    ``field``: the form field it came in. ``names`` of the columns (their numbers where ``is_named`` is
    false).
    ``rows``: None where they are only known after reading. ``chunks``: opens the file and yields (rows,
    columns).
    """

    field: str
    names: tuple[str, ...]
    columns: int
    rows: int | None
    chunks: Callable[[], Iterator[Array]]
    is_named: bool

    def position(self, column: str | None) -> int:
        """Where the column of this name is; raises InvalidInput that lists those there are."""
        if column in self.names:
            return self.names.index(column)
        if column is None:
            problem, code = "name the column that is the target, or send the labels as target_file", "missing"
        else:
            problem, code = f"there is no column {shown(column)}", "unknown_column"
        raise refuse("target", code, f"{problem}; {self.field} has {self.listed()}")

    def listed(self) -> str:
        """The columns in words."""
        if not self.is_named:
            return f"the columns 0 to {self.columns - 1}" if self.columns > 1 else "one column, 0"
        more = f" and {self.columns - _LISTED} more" if self.columns > _LISTED else ""
        return "the columns " + ", ".join(shown(name) for name in self.names[:_LISTED]) + more
