"""What an upload may be; every error names the field, the limit, and a way out."""

from typing import Final

from service.errors import FieldError, InvalidInput

MIN_ROWS: Final = 10
MAX_ROWS: Final = 10_000_000
MAX_COLUMNS: Final = 10_000
MAX_MAGNITUDE: Final = 1e15
CHUNK_NUMBERS: Final = 1_000_000
"""Numbers that are in memory at a time while a file is read."""


def refuse(field: str, code: str, message: str) -> InvalidInput:
    """The error about one form field."""
    return InvalidInput(f"{field}: {message}", errors=[FieldError(f"/{field}", code, message)])


def too_large_expanded(field: str, limit: int) -> InvalidInput:
    """Decompressed, or as float64, it is larger than the service takes."""
    return refuse(
        field,
        "too_large",
        f"decompressed, the rows take more than the {limit} bytes accepted here (8 per number); "
        "send fewer rows: a population has at most 5,000 of them in any case",
    )


def check_shape(field: str, rows: int, columns: int, limit: int) -> None:
    """Refuse what is known to be too large before any of it is read."""
    if columns > MAX_COLUMNS:
        raise refuse(
            field,
            "too_many_columns",
            f"{columns} feature columns; at most {MAX_COLUMNS} are accepted: drop or project some",
        )
    if rows > MAX_ROWS:
        raise refuse(
            field, "too_many_rows", f"{rows} rows; at most {MAX_ROWS} are accepted: send a sample of them"
        )
    if 8 * rows * columns > limit:
        raise too_large_expanded(field, limit)


def shown(name: str) -> str:
    """A name of the client's that is safe to repeat: printable, at most 60 characters."""
    text = "".join(c if c.isprintable() else "�" for c in name)
    return f"{text[:60]!r}" + ("…" if len(text) > 60 else "")
