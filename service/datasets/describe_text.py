"""From a numbered text to what is known about it."""

import numpy as np

import service
from service.datasets.schemas import Exponent, Provenance, Warning
from service.datasets.text import IngestedText
from service.datasets.text_schemas import Frequencies, TextDescription, TextOptions, TokenCount
from service.errors import InvalidInput
from service.theory.distributions.vocabulary.levels import from_counts
from service.theory.distributions.vocabulary.zipf_fit import ZipfFit, fit_zipf

SHOWN = 100
_STRAIGHT = 0.95


def describe_text(ingested: IngestedText, options: TextOptions) -> TextDescription | InvalidInput:
    """Counts, what follows from them, and the fitted Zipf law."""
    counts = np.load(ingested.labels)
    distinct, types = np.unique(counts, return_counts=True)
    distinct, types = distinct[::-1], types[::-1]
    vocabulary = from_counts(distinct.astype(float), types.astype(float))
    fit = fit_zipf(distinct.astype(float), types.astype(float))
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    return TextDescription(
        engine_version=service.__version__,
        tokens=options.tokens,
        count=ingested.count,
        types=len(ingested.types),
        hash=ingested.content_hash,
        once=int(types[distinct == 1].sum()),
        entropy=max(vocabulary.entropy, 0.0),
        diversity=max(1.0 - vocabulary.simpson, 0.0),
        exponent=_exponent(fit),
        most_frequent=[TokenCount(token=ingested.types[i], count=int(counts[i])) for i in order],
        frequencies=Frequencies(counts=distinct.tolist(), types=types.tolist()),
        provenance=_provenance(fit),
        warnings=_warnings(fit, int(types[distinct == 1].sum()), ingested.count),
    )


def _exponent(fit: ZipfFit | str) -> Exponent:
    if isinstance(fit, str):
        return Exponent(
            value=None, standard_error=None, r_squared=None, first_rank=None, last_rank=None, reason=fit
        )
    return Exponent(
        value=fit.exponent,
        standard_error=fit.standard_error,
        r_squared=fit.r_squared,
        first_rank=fit.first,
        last_rank=fit.last,
        reason=None,
    )


def _provenance(fit: ZipfFit | str) -> list[Provenance]:
    found = [
        Provenance(pointer=pointer, origin="measured", how=how)
        for pointer, how in (
            ("/count", "Counted."),
            ("/types", "Counted."),
            ("/once", "Counted."),
            ("/frequencies", "Counted: the whole of the text as far as independent tokens go."),
            ("/most_frequent", "Counted; ties in the order of first occurrence."),
            (
                "/entropy",
                "Of the measured frequencies; the language's own is larger, since rare types are not seen.",
            ),
            ("/diversity", "Of the measured frequencies."),
        )
    ]
    if isinstance(fit, ZipfFit):
        how = f"Maximum likelihood on ranks {fit.first} to {fit.last}, whose types occur ten times or more."
        found.append(Provenance(pointer="/exponent", origin="estimated", how=how))
    return found


def _warnings(fit: ZipfFit | str, once: int, count: int) -> list[Warning]:
    found = []
    if isinstance(fit, ZipfFit) and fit.r_squared < _STRAIGHT:
        found.append(
            Warning(
                code="not_zipf",
                message=f"The frequencies are not straight on logarithmic axes (R² {fit.r_squared:.3f}): use the "
                "counts themselves, not the exponent.",
            )
        )
    if once > 0.05 * count:
        found.append(
            Warning(
                code="undersampled",
                message=f"{once:,} of {count:,} tokens occur once: about that share of the language's mass was never "
                "seen (Good and Turing). Predictions take the measured frequencies as the truth.",
            )
        )
    return found
