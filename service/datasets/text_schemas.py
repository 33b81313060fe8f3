"""What a client says about an uploaded text, and what a stored text data set is."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.datasets.schemas import Answer, Exponent, Options, Provenance, StoredDataset, Summary, Warning
from service.predictions.schemas import DatasetId

Tokens = Literal["whitespace", "word", "character"]


class TextOptions(Options):
    """Everything about an uploaded text but its bytes; with the content's hash it determines the data set's id."""

    tokens: Tokens


class TokenCount(Answer):
    """A type and how often it occurs."""

    token: str
    count: int


class Frequencies(Answer):
    """All of a text's frequencies: ``types`` of them occur ``counts`` times each, the most frequent first."""

    counts: list[int]
    types: list[int]


class TextDescription(Answer):
    """What is known about a text without its words."""

    kind: Literal["text"] = "text"
    engine_version: str
    tokens: Tokens = Field(description="What a token is.")
    count: int = Field(description="Tokens in the text.")
    types: int = Field(description="Different tokens.")
    hash: str = Field(description="sha256 of the decompressed text.")
    once: int = Field(description="Types that occur once.")
    entropy: float = Field(description="−Σ p ln p of the frequencies, nats.")
    diversity: float = Field(description="1 − Σ p²: the chance that two tokens differ.")
    exponent: Exponent = Field(
        description="Of Zipf's law, by maximum likelihood on the ranks that are stated."
    )
    most_frequent: list[TokenCount]
    frequencies: Frequencies
    provenance: list[Provenance]
    warnings: list[Warning]


class StoredText(TextDescription):
    """A stored, immutable text data set; only its tokens can be deleted."""

    id: DatasetId
    name: str | None
    created_at: datetime
    rows_deleted_at: datetime | None = Field(
        description="When the tokens were deleted (predictions still work, simulations do not), or null."
    )


class TextSummary(Answer):
    """A stored text data set in a list."""

    kind: Literal["text"] = "text"
    id: DatasetId
    name: str | None
    created_at: datetime
    rows_deleted_at: datetime | None
    tokens: Tokens
    count: int
    types: int


AnyDataset = Annotated[StoredDataset | StoredText, Field(discriminator="kind")]


class DatasetPage(Answer):
    """A page of data sets, newest first."""

    items: list[Annotated[Summary | TextSummary, Field(discriminator="kind")]]
    next_cursor: str | None = Field(description="Pass it as cursor for the next page; null on the last one.")
