"""What a client says about a chain of n-gram models, and what it is answered."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from service.distributions.rows_by_generation import Agreement, Measured
from service.distributions.schemas import Fraction
from service.predictions.responses import Answer
from service.predictions.schemas import DatasetId, Model
from service.simulations.resource import SimulationOptions, SimulationSummary

MAX_ORDER = 5
MAX_GENERATIONS = 100


class ReplaceCorpus(Model):
    """Every model is trained on text of the one before, and a share of the original text, drawn anew every time."""

    kind: Literal["replace"]
    kept: Fraction = Field(0.0, description="Share of each later corpus that is original text.")


class AccumulateCorpus(Model):
    """Every corpus stays: the original text and all that was generated since."""

    kind: Literal["accumulate"]


class NgramSimulationRequest(SimulationOptions):
    """An n-gram model with back-off, trained on a text, sampled, trained on the sample, and so on.

    Generation 0 is trained on the text itself, without its held-out end. Every later corpus is as long.
    """

    text: DatasetId
    held_out: Annotated[float, Field(ge=0.001, le=0.9, allow_inf_nan=False), Strict()] = Field(
        0.1, description="Share of the text, its end, that is never trained on; perplexity is measured there."
    )
    order: Annotated[int, Field(ge=1, le=MAX_ORDER), Strict()] = Field(
        3, description="n: a word depends on the n − 1 before it."
    )
    discount: Annotated[float, Field(ge=0, le=0.99, allow_inf_nan=False), Strict()] = Field(
        0.75,
        description="D of absolute discounting with back-off to shorter histories, and at last to all types alike. "
        "0: maximum likelihood, for which the number of surviving n-grams is predicted.",
    )
    generations: Annotated[int, Field(ge=0, le=MAX_GENERATIONS), Strict()]
    workflow: Annotated[ReplaceCorpus | AccumulateCorpus, Field(discriminator="kind")]


class Histogram(Answer):
    """Mean shares of tokens by ln P: cell i is from ``edges[i]`` to ``edges[i + 1]``, the first one open below."""

    generation: int
    tokens: Literal["held_out", "generated"] = Field(
        description="held_out: real text under this generation's model; generated: the text it was trained on under "
        "the model of generation 0."
    )
    edges: list[float]
    shares: list[float]


class NgramResult(Answer):
    """What was measured so far."""

    replicates_done: int
    agreement: Agreement
    measured: list[Measured] = Field(
        description="distinct:k, missing_mass:k, entropy:k of the k-grams of each generation's training corpus, "
        "k = 1 … n (missing mass of the original's; entropy in nats); log_loss (nats per token) and perplexity on the "
        "held-out real text."
    )
    histograms: list[Histogram]


class NgramSimulation(SimulationSummary):
    """A simulated chain of n-gram models; ``measured`` holds the replicates done so far."""

    kind: Literal["ngram"] = "ngram"
    request: NgramSimulationRequest
    replicates_done: int
    agreement: Agreement
    measured: list[Measured]
    histograms: list[Histogram]
