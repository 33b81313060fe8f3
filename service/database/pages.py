"""Pages of a list, newest first: a cursor names the last row seen, so that pages stay put while rows are added."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, tuple_

from service.errors import InvalidInput


@dataclass(frozen=True)
class Cursor:
    """The last row of a page: its creation time and id."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        """An opaque string that is safe in a URL."""
        text = f"{self.created_at.isoformat()} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> "Cursor":
        """Raises InvalidInput where ``cursor`` was not made by ``encode``."""
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
            created_at, identity = text.split(" ")
            parsed = datetime.fromisoformat(created_at)
        except (ValueError, binascii.Error):
            raise _unknown() from None
        if parsed.tzinfo is None or not identity.isprintable():
            raise _unknown()
        return cls(parsed, identity)


def _unknown() -> InvalidInput:
    return InvalidInput("The cursor is not one that this service gave: pass next_cursor of the page before.")


def newest_first(select: Select[Any], table: Table, cursor: str | None, limit: int) -> Select[Any]:
    """The rows after ``cursor``; one more than ``limit``, which tells whether there is a next page."""
    if cursor is not None:
        last = Cursor.decode(cursor)
        after: ColumnElement[bool] = tuple_(table.c.created_at, table.c.id) < tuple_(last.created_at, last.id)
        select = select.where(after)
    return select.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit + 1)
