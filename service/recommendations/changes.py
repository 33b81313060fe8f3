"""Single changes that meet the bound, and what each costs."""

from collections.abc import Iterator
from math import isfinite

from service.recommendations import responses, schemas
from service.recommendations.evaluation import OutOfTime
from service.recommendations.questions import Searched
from service.recommendations.searches import nearest, number
from service.theory.results import Prediction


def single_changes(
    costs: schemas.Costs,
    found: Prediction,
    answer: responses.Recommendation,
    searched: dict[str, Searched],
    real: list[Searched],
) -> list[responses.Change]:
    """All single changes that meet the bound, the cheapest first; among equals the one of least error.

    ``searched``: the searches over synthetic_samples, synthetic_share and generations; ``real``: over real samples.
    """
    if answer.meets_bound:
        return [
            responses.Change(
                kind="none", stage=None, value=None, cost=0.0, test_error=answer.test_error,
                sentence="Nothing need be changed: the mix meets the bound.",
            )
        ]  # fmt: skip
    changes = [*_free(found, answer), *_bought(costs, searched, real)]
    return sorted(changes, key=lambda one: (one.cost, one.test_error if one.test_error is not None else 0.0))


def _free(found: Prediction, answer: responses.Recommendation) -> Iterator[responses.Change]:
    """The penalty and the weights."""
    if answer.penalty.meets_bound:
        best = found.regularization.recommended
        yield responses.Change(
            kind="penalty", stage=None, value=best.penalty if isfinite(best.penalty) else None, cost=0.0,
            test_error=answer.penalty.test_error,
            sentence=f"Set the penalty to {number(best.penalty)}." if isfinite(best.penalty) else "Predict zero.",
        )  # fmt: skip
    if answer.weights.meets_bound:
        yield responses.Change(
            kind="weights", stage=None, value=None, cost=0.0, test_error=answer.weights.test_error,
            sentence="Use the best loss weights and their penalty.",
        )  # fmt: skip


def _bought(
    costs: schemas.Costs, searched: dict[str, Searched], real: list[Searched]
) -> Iterator[responses.Change]:
    """Samples added, left out or replaced; generations left out."""
    for one in real:
        assert isinstance(one.answer, responses.StageSearch)
        up = nearest(one.ranges, one.present, up=True)
        down = nearest(one.ranges, one.present, up=False)
        if up is not None:
            yield _change(
                "real_samples", one, up, costs.real_sample * (up - one.present),
                f'Add {up - one.present:,} real samples to stage "{one.answer.stage}", {up:,} in all.',
            )  # fmt: skip
        if down is not None:
            yield _change(
                "real_samples", one, down, 0.0,
                f'Use only {down:,} of the {one.present:,} real samples of stage "{one.answer.stage}".',
            )  # fmt: skip
    one = searched["synthetic_samples"]
    up, down = nearest(one.ranges, one.present, up=True), nearest(one.ranges, one.present, up=False)
    if up is not None:
        added = up - one.present
        yield _change(
            "synthetic_samples", one, up, costs.synthetic_sample * added,
            f"Add {added:,} synthetic samples to the last stage, {up:,} in all.",
        )  # fmt: skip
    if down is not None:
        yield _change(
            "synthetic_samples", one, down, 0.0,
            f"Use only {down:,} of the last stage's {one.present:,} synthetic samples.",
        )  # fmt: skip
    one = searched["synthetic_share"]
    down = nearest(one.ranges, one.present, up=False)
    if down is not None:
        yield _change(
            "synthetic_share", one, down, costs.real_sample * (one.present - down),
            f"Replace {one.present - down:,} synthetic samples by real ones, {down:,} synthetic ones left.",
        )  # fmt: skip
    one = searched["generations"]
    down = nearest(one.ranges, one.present, up=False)
    if down is not None:
        yield _change(
            "generations", one, down, 0.0, f"Stop after {down:,} generations instead of {one.present:,}."
        )


def _change(
    kind: responses.ChangeKind, one: Searched, value: int, cost: float, sentence: str
) -> responses.Change:
    stage = one.answer.stage if isinstance(one.answer, responses.StageSearch) else None
    try:
        error = one.error(value)
    except OutOfTime:  # known to be within the bound, but the number is gone
        error = float("nan")
    shown = error if isfinite(error) else None
    return responses.Change(
        kind=kind, stage=stage, value=value, cost=cost, test_error=shown, sentence=sentence
    )
