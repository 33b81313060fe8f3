"""Quasi-random samples of the inputs, the predictions there, and what of their variance is whose.

Sobol' indices by two sample matrices A and B and, for each input i, A with column i from B (Saltelli et al. 2010,
Comput. Phys. Commun. 181, 259): first order E f(B) (f(A_i) − f(A))/V, total effect E (f(A) − f(A_i))²/2V (Jansen 1999),
on scrambled Sobol' points. Cost: samples × (inputs + 2) predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from service.errors import InvalidInput
from service.predictions.fields import Variant, holds_whole_numbers
from service.predictions.variants import Family, family
from service.theory.model import Array, Population
from service.theory.slots import COLUMNS
from service.uncertainty.inputs import Uncertainty, extracted
from service.uncertainty.schemas import MAX_INPUTS, Influence, Input, Output, Uncertain, UncertainRequest

MAX_SECONDS = 120.0
RANKED = ("total", "total_at_recommended")
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Study:
    """A request, ready to be computed. ``values``: of the inputs, (samples × (inputs + 2) + 1, inputs), A, B, A_i, …,
    and the central values last."""

    request: UncertainRequest
    inputs: tuple[Uncertainty, ...]
    family: Family
    values: Array
    seconds: float
    """About how long the predictions take."""


def study(request: UncertainRequest, stored: Population | None) -> Study:
    """The study of a request; ``stored``: the population of the data set it names. Raises InvalidInput."""
    asked = {"dataset": request.dataset, "training_mix": request.training_mix}
    base, inputs = extracted(asked)
    if not inputs:
        raise InvalidInput.at(
            "", "nothing_uncertain",
            'no number is uncertain; write {"low", "high"} or {"mean", "sd"} in the place of one, '
            "or use POST /v1/predictions",
        )  # fmt: skip
    if len(inputs) > MAX_INPUTS:
        raise InvalidInput.at(
            "", "too_many", f"{len(inputs)} numbers are uncertain; at most {MAX_INPUTS} may be"
        )
    whole = _whole(base, inputs)
    unit = qmc.Sobol(2 * len(inputs), scramble=True, rng=np.random.default_rng(request.seed)).random(
        request.samples
    )
    columns = [one.quantiles(unit[:, i :: len(inputs)].T.ravel()) for i, one in enumerate(inputs)]
    both = np.stack(
        [np.round(c) if is_whole else c for c, is_whole in zip(columns, whole, strict=True)], axis=1
    )
    A, B = both[: request.samples], both[request.samples :]
    parts = [A, B]
    for i in range(len(inputs)):
        changed = A.copy()
        changed[:, i] = B[:, i]
        parts.append(changed)
    central = [
        round(one.central) if is_whole else one.central for one, is_whole in zip(inputs, whole, strict=True)
    ]
    values = np.concatenate([*parts, np.array([central], dtype=np.float64)])
    variants = [
        Variant.of(one.pointer, values[:, i], one.pointer, whole=whole[i]) for i, one in enumerate(inputs)
    ]
    for variant, value in zip(variants, central, strict=True):
        base = variant.replaced(base, value)
    found = family(base, variants, stored, request.order)
    seconds = found.seconds(len(values), len(values) if found.slow else 1)
    if seconds > MAX_SECONDS:
        raise InvalidInput.at(
            "/samples", "too_large",
            f"this would take about {seconds:.0f} seconds; at most {MAX_SECONDS:.0f} are spent. "
            "Give fewer samples, or fewer uncertain inputs.",
        )  # fmt: skip
    return Study(request, inputs, found, values, seconds)


def _whole(base: dict[str, object], inputs: Sequence[Uncertainty]) -> list[bool]:
    """Which inputs are whole numbers: decided one by one, the others taken as rounded where that is needed."""
    candidate = base
    for one in inputs:
        candidate = Variant(one.pointer, 0.0, 0.0, whole=True, at="").replaced(
            candidate, max(round(one.central), 1)
        )
    return [holds_whole_numbers(candidate, one.pointer) for one in inputs]


def answer(study: Study) -> Uncertain:
    """The predictions at all values, and what they say."""
    tables = [
        study.family.table(part) for part in np.split(study.values, range(_CHUNK, len(study.values), _CHUNK))
    ]
    columns = np.array([np.concatenate([one.values[name] for one in tables]) for name in COLUMNS])
    problems = {problem for one in tables for problem in one.problems.values()}
    request, samples = study.request, study.request.samples
    ranking = {name: _ranking(study, columns[COLUMNS.index(name)]) for name in RANKED}
    return Uncertain(
        samples=samples,
        seed=request.seed,
        level=request.level,
        order=request.order,
        points=len(study.values),
        inputs=[
            Input(
                pointer=one.pointer, distribution=one.distribution,
                low=float(study.values[:, i].min()), high=float(study.values[:, i].max()),
            )
            for i, one in enumerate(study.inputs)
        ],
        outputs={
            name: _output(values[: 2 * samples], float(values[-1]), request.level)
            for name, values in zip(COLUMNS, columns, strict=True)
        },
        ranking=ranking,
        problems=sorted(problems),
    )  # fmt: skip


def _output(values: Array, central: float, level: float) -> Output:
    known = values[~np.isnan(values)]  # infinite ones are beyond every quantile below them
    finite = known[np.isfinite(known)]
    undefined = 1.0 - finite.size / values.size
    ends = [(1.0 - level) / 2, 0.5, (1.0 + level) / 2]
    # no interpolation next to infinity
    low, median, high = (
        np.quantile(known, ends, method="nearest" if undefined else "linear") if known.size else [np.nan] * 3
    )
    return Output(
        central=_finite(central),
        mean=_finite(finite.mean()) if finite.size == values.size else None,
        sd=_finite(finite.std(ddof=1)) if finite.size == values.size else None,
        median=_finite(median),
        low=_finite(low),
        high=_finite(high),
        undefined=undefined,
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ranking(study: Study, values: Array) -> list[Influence]:
    """The inputs by their total effect on one output, the largest first."""
    samples = study.request.samples
    f = values[:-1].reshape(-1, samples)
    if not np.isfinite(f).all():
        return []
    A, B = f[0], f[1]
    variance = float(np.var(f[:2]))
    if variance <= 1e-24 * float(np.mean(f[:2])) ** 2:
        return []
    found = []
    for one, changed in zip(study.inputs, f[2:], strict=True):
        squares = (A - changed) ** 2 / (2 * variance)
        first = float(np.clip(np.mean((B - B.mean()) * (changed - A)) / variance, 0.0, 1.0))
        found.append(
            Influence(
                pointer=one.pointer,
                first_order=first,
                total_effect=float(squares.mean()),
                standard_error=float(squares.std(ddof=1) / np.sqrt(samples)),
                sd_when_known=float(np.sqrt(variance * (1.0 - first))),
            )
        )
    return sorted(found, key=lambda influence: -influence.total_effect)
