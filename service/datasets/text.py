"""From an uploaded text to token numbers and their counts: streamed, counted while it expands, never guessed."""

import codecs
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from service.datasets.containers import is_zip, unpacked
from service.datasets.ingest import Upload
from service.datasets.limits import refuse
from service.datasets.text_schemas import TextOptions, Tokens
from service.datasets.words import write_types
from service.errors import InvalidInput

MAX_TOKENS: Final = 100_000_000
MAX_TYPES: Final = 5_000_000
MAX_TOKEN_LENGTH: Final = 1_000
MIN_TOKENS: Final = 10

_FIELD: Final = "file"
_CHUNK: Final = 1 << 20
_WORD: Final = re.compile(r"\w+(?:['’]\w+)*")
_BOM: Final = "\ufeff"


@dataclass(frozen=True)
class IngestedText:
    """Types in the order of their first occurrence.

    ``rows``: the numbered tokens; ``labels``: how often each type occurs; ``strings``: the types again, on disk.
    """

    count: int
    types: list[str]
    content_hash: str
    rows_hash: str
    rows: Path
    labels: Path
    strings: Path


def ingest_text(upload: Upload) -> IngestedText | InvalidInput:
    """Read, check, hash and number a text; what is wrong with it is returned, not raised."""
    try:
        return _ingest(upload)
    except InvalidInput as error:
        return error


def _ingest(upload: Upload) -> IngestedText:
    options = upload.options
    assert isinstance(options, TextOptions)
    path = unpacked(upload.file, upload.folder, _FIELD, upload.max_bytes)
    if is_zip(path):
        raise refuse(
            _FIELD, "not_text", "a zip archive is no plain text: send the text itself, gzipped or not"
        )
    if path.stat().st_size > upload.max_bytes:
        raise refuse(
            _FIELD, "too_large", f"the text takes more than the {upload.max_bytes} bytes accepted here"
        )
    text = _Text(path)
    numbers: dict[str, int] = {}
    count = 0
    numbered = upload.folder / "tokens.i32"
    rows_digest = hashlib.sha256(b"tokens")
    with numbered.open("wb") as file:
        for tokens in _TOKENISERS[options.tokens](text.pieces()):
            ids = np.fromiter(
                (numbers.setdefault(token, len(numbers)) for token in tokens), dtype="<i4", count=len(tokens)
            )
            count += len(ids)
            _check_size(count, len(numbers))
            rows_digest.update(ids.tobytes())
            file.write(ids.tobytes())
    if count < MIN_TOKENS:
        raise refuse(_FIELD, "too_few_tokens", f"{count} tokens; at least {MIN_TOKENS} are needed")
    rows, labels = upload.folder / "rows.npy", upload.folder / "labels.npy"
    ids = np.memmap(numbered, dtype="<i4", mode="r")
    np.save(rows, ids)
    np.save(labels, np.bincount(ids, minlength=len(numbers)))
    types, strings = list(numbers), upload.folder / "types"
    write_types(types, strings)
    return IngestedText(count, types, text.digest, rows_digest.hexdigest(), rows, labels, strings)


def _check_size(count: int, types: int) -> None:
    if count > MAX_TOKENS:
        raise refuse(
            _FIELD,
            "too_many_tokens",
            f"more than {MAX_TOKENS} tokens; send a part of the text, or coarser tokens",
        )
    if types > MAX_TYPES:
        raise refuse(
            _FIELD,
            "too_many_types",
            f"more than {MAX_TYPES} different tokens; use finer tokens, or less text",
        )


class _Text:
    """A file as pieces of text; its hash once they have been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """sha256 of the bytes that were read."""
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[str]:
        """Decoded as UTF-8, strictly; raises InvalidInput that says which byte is none."""
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        before, is_first = 0, True
        with self._path.open("rb") as file:
            while True:
                chunk = file.read(_CHUNK)
                self._digest.update(chunk)
                pending = len(decoder.getstate()[0])
                try:
                    piece = decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    raise refuse(
                        _FIELD,
                        "invalid_utf8",
                        f"byte {before - pending + error.start} is not UTF-8: convert the text, for instance with "
                        "iconv -f LATIN1 -t UTF-8",
                    ) from None
                before += len(chunk)
                if "\x00" in piece:
                    raise refuse(_FIELD, "not_text", "it holds NUL characters: this is no plain text")
                if is_first:
                    piece = piece.removeprefix(_BOM)
                    is_first = False
                if piece:
                    yield piece
                if not chunk:
                    return


def _whitespace(pieces: Iterator[str]) -> Iterator[list[str]]:
    """Maximal runs without white space."""
    return _split(pieces, str.split)


def _words(pieces: Iterator[str]) -> Iterator[list[str]]:
    """Runs of letters, digits and inner apostrophes, in lower case; everything else separates."""
    return _split(pieces, lambda text: _WORD.findall(text.lower()))


def _split(pieces: Iterator[str], split: Callable[[str], list[str]]) -> Iterator[list[str]]:
    """Cut only at white space, so that no token is cut by the end of a piece."""
    rest = ""
    for piece in pieces:
        text = rest + piece
        end = max(text.rfind(" "), text.rfind("\n"))
        if end < 0:
            end = next((i for i in range(len(text) - 1, -1, -1) if text[i].isspace()), -1)
        rest = text[end + 1 :]
        if len(rest) > MAX_TOKEN_LENGTH:
            _too_long()
        yield _checked(split(text[: end + 1]))
    yield _checked(split(rest))


def _checked(tokens: list[str]) -> list[str]:
    if any(len(token) > MAX_TOKEN_LENGTH for token in tokens):
        _too_long()
    return tokens


def _too_long() -> None:
    raise refuse(
        _FIELD,
        "token_too_long",
        f"a token is longer than {MAX_TOKEN_LENGTH} characters: this is no running text; or tokenise by character",
    )


_TOKENISERS: Final[dict[Tokens, Callable[[Iterator[str]], Iterator[list[str]]]]] = {
    "whitespace": _whitespace,
    "word": _words,
    "character": lambda pieces: (list(piece) for piece in pieces),
}
