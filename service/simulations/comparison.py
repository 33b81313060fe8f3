"""What was measured beside what was predicted, stage by stage, and whether they agree."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from service.predictions.responses import Answer
from service.simulation import verdict
from service.simulation.reduce import MEASURED, QUANTILES, Summary, reduce
from service.simulation.verdict import Comparison, Conditions
from service.simulations.schemas import (
    Agreement,
    Disagreement,
    Estimate,
    LikelyCause,
    MeasuredError,
    Quantiles,
    SimulationPoint,
    SimulationStage,
    ZScores,
)
from service.theory.model import Array


class Compared(Answer):
    """The result of a simulation, or its estimates so far."""

    agreement: Agreement
    points: list[SimulationPoint]


def compared(request: Mapping[str, Any], points: Sequence[Mapping[str, Any]], errors: Array) -> Compared:
    """Each planned point beside what was measured.

    ``request``, ``points``: as they are stored; ``errors``: outcomes, shape (len(PARTS) × stages of all points,
    replicates), which may be none.
    """
    planned = [(point, stage) for point in points for stage in point["stages"]]
    summary = reduce(errors) if errors.shape[1] > 0 else None
    tested = _tested(summary, [stage for _, stage in planned])
    p = verdict.adjusted_p_values([one for _, _, one in tested], summary.replicates if summary else 0)
    disagreements: dict[int, list[Disagreement]] = {}
    distinct = {
        one for (_, _, one), adjusted in zip(tested, p.tolist(), strict=True) if adjusted <= verdict.LEVEL
    }
    for (index, part, comparison), adjusted in zip(tested, p.tolist(), strict=True):
        if adjusted <= verdict.LEVEL:
            assert summary is not None
            _, stage = planned[index]
            conditions = _conditions(request, stage, heavy=summary.heavy[index])
            disagreements.setdefault(index, []).append(_disagreement(part, comparison, adjusted, conditions))
    stages = [
        _stage(stage, summary, index, request, disagreements.get(index, []))
        for index, (_, stage) in enumerate(planned)
    ]
    return Compared(
        agreement=_agreement(summary, [one for _, _, one in tested], len(distinct)),
        points=_points(points, stages),
    )


def _points(points: Sequence[Mapping[str, Any]], stages: list[SimulationStage]) -> list[SimulationPoint]:
    found, used = [], 0
    for point in points:
        mine = stages[used : used + len(point["stages"])]
        used += len(mine)
        last = mine[-1]
        found.append(
            SimulationPoint(
                parameters=point["parameters"],
                prediction=last.prediction,
                prediction_missing=last.prediction_missing,
                test_error=last.test_error,
                difference=last.difference,
                relative_difference=last.relative_difference,
                z_score=last.z_score,
                p_value=last.p_value,
                stages=mine,
            )
        )
    return found


# --- one stage ------------------------------------------------------------------------------------


def _stage(
    stage: Mapping[str, Any],
    summary: Summary | None,
    index: int,
    request: Mapping[str, Any],
    disagreements: list[Disagreement],
) -> SimulationStage:
    predicted = stage["prediction"]["total"] if stage["prediction"] else None
    comparisons = {part: _comparison(summary, index, stage, part) for part in MEASURED}
    total = comparisons["total"]
    difference = None if total is None else _finite(total.difference)
    scores = {part: None if one is None else _score(one) for part, one in comparisons.items()}
    return SimulationStage(
        stage=stage["name"],
        prediction=stage["prediction"],
        prediction_missing=stage["prediction_missing"],
        test_error=None if summary is None else _measured(summary, index, averaged=request["average_noise"]),
        difference=difference,
        relative_difference=difference / predicted if difference is not None and predicted else None,
        z_score=scores["total"],
        p_value=_p_value(summary, total),
        z_scores=ZScores(**scores),
        disagreements=disagreements,
    )


def _measured(summary: Summary, index: int, *, averaged: bool) -> MeasuredError:
    estimates = {
        part: Estimate(
            mean=_finite(summary.mean[index, k]), standard_error=_finite(summary.standard_error[index, k])
        )
        for k, part in enumerate(MEASURED)
    }
    return MeasuredError(
        **estimates.pop("total").model_dump(),
        **estimates,
        replicates=summary.replicates,
        quantiles=None if averaged else _quantiles(summary.quantiles[:, index]),
    )


def _quantiles(values: Array) -> Quantiles | None:
    if not np.isfinite(values).all():
        return None
    return Quantiles(**{f"p{100 * q:02.0f}": float(v) for q, v in zip(QUANTILES, values, strict=True)})


# --- comparisons ----------------------------------------------------------------------------------


def _comparison(
    summary: Summary | None, index: int, stage: Mapping[str, Any], part: str
) -> Comparison | None:
    """None without a prediction, without a measurement, or where that is infinite."""
    predicted = stage["prediction"][part] if stage["prediction"] else None
    if summary is None or predicted is None:
        return None
    column = MEASURED.index(part)
    mean, error = float(summary.mean[index, column]), float(summary.standard_error[index, column])
    total = float(summary.mean[index, MEASURED.index("total")])
    if not isfinite(mean) or not isfinite(total):
        return None
    skewness = float(summary.skewness[index, column])
    # the generation term is a difference, which may have any sign: its spread goes with that of the total
    of = (total, stage["prediction"]["total"]) if part == "generation" else (mean, predicted)
    return Comparison(mean, error, predicted, max(total, abs(mean)), skewness, verdict.understated(*of))


def _score(comparison: Comparison) -> float | None:
    return _finite(comparison.z_score) if isfinite(comparison.standard_error) else None


def _p_value(summary: Summary | None, total: Comparison | None) -> float | None:
    """None without a comparison, or where there are too few replicates for a verdict."""
    if summary is None or total is None or summary.replicates < verdict.LEAST_REPLICATES:
        return None
    return float(verdict.alone([total], summary.replicates)[0])


def _tested(
    summary: Summary | None, stages: Sequence[Mapping[str, Any]]
) -> list[tuple[int, str, Comparison]]:
    """Everything that is compared, once there are replicates enough."""
    if summary is None or summary.replicates < verdict.LEAST_REPLICATES:
        return []
    found = []
    for index, stage in enumerate(stages):
        for part in MEASURED:
            comparison = _comparison(summary, index, stage, part)
            if comparison is not None:
                found.append((index, part, comparison))
    return found


def _conditions(request: Mapping[str, Any], stage: Mapping[str, Any], *, heavy: bool) -> Conditions:
    features = request["features"] or {}
    rows = stage.get("rows_error") or {"leverage": 0.0, "repeats": 0.0}
    return Conditions(
        expected_relative_error=stage["prediction"]["expected_relative_error"] - sum(rows.values()),
        degrees_of_freedom=features.get("degrees_of_freedom"),
        finite_population=isinstance(request["dataset"], str),
        leverage=rows["leverage"],
        repeats=rows["repeats"],
        heavy=heavy,
        size=stage["size"],
    )


def _disagreement(part: str, comparison: Comparison, adjusted: float, conditions: Conditions) -> Disagreement:
    return Disagreement(
        part=part,
        z_score=_score(comparison),
        adjusted_p_value=adjusted,
        likely_causes=[
            LikelyCause(code=cause.value, message=cause.sentence)
            for cause in verdict.causes(comparison, conditions)
        ],
    )


def _agreement(summary: Summary | None, tested: Sequence[Comparison], disagreements: int) -> Agreement:
    count = len(set(tested))
    detectable = None
    if summary is not None and count:
        totals = [one for one in tested if one.mean == one.scale and one.predicted > 0]
        detectable = max(
            (
                verdict.detectable_difference(one.standard_error, count, summary.replicates) / one.predicted
                for one in totals
            ),
            default=None,
        )
    return Agreement(
        verdict="undecided" if not count else "disagree" if disagreements else "agree",
        level=verdict.LEVEL,
        comparisons=count,
        disagreements=disagreements,
        detectable_relative_difference=detectable,
    )


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
