"""Which vocabulary a request is about, and which of its types it follows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.database.engine import Connection
from service.datasets import store as datasets
from service.distributions.vocabulary import schemas
from service.theory.distributions.vocabulary.levels import Vocabulary, from_counts, zipf


@dataclass(frozen=True, eq=False)
class Text:
    """What was looked up in the stored text that a request names; ``ranks``: of the tokens that it asks about."""

    vocabulary: Vocabulary
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The types whose P(gone) is wanted: by rank first, then by token; ``tokens``: None where it was by rank."""

    ranks: tuple[int, ...]
    tokens: tuple[str | None, ...]


def asked_of(request: schemas.VocabularyRequest, stored: Text | None) -> Asked:
    """Which types a request follows."""
    by_token = () if stored is None else stored.ranks
    return Asked((*request.ranks, *by_token), (*(None for _ in request.ranks), *request.tokens))


def truth_of(vocabulary: schemas.Vocabulary, stored: Text | None) -> Vocabulary:
    """The true distribution; ``stored``: the text data set that is named."""
    if isinstance(vocabulary, schemas.ZipfVocabulary):
        return zipf(vocabulary.types, vocabulary.exponent)
    if isinstance(vocabulary, schemas.CountsVocabulary):
        types = vocabulary.types
        return from_counts(np.asarray(vocabulary.values), None if types is None else np.asarray(types))
    assert stored is not None
    return stored.vocabulary


async def text_of(
    connection: Connection, vocabulary: schemas.Vocabulary, rows_dir: Path, tokens: list[str], pointer: str
) -> Text | None:
    """The stored text that a request names, None where it names none; ``pointer``: of its tokens, # for the place.

    Raises NotFound, RowsDeleted, InvalidInput.
    """
    if not isinstance(vocabulary, str):
        return None
    return Text(
        await datasets.vocabulary(connection, vocabulary),
        await datasets.token_ranks(connection, vocabulary, rows_dir, tokens, pointer),
    )
