"""The last stage's penalty and weights, whether each synthetic source helps, and what binds."""

from dataclasses import replace
from math import inf, isfinite

from service.predictions import responses as predictions
from service.recommendations import responses, variations
from service.recommendations.evaluation import SECONDS, OutOfTime
from service.recommendations.questions import Case
from service.recommendations.searches import finite, number
from service.theory import best_weights
from service.theory.model import OPTIMAL, TrainingMix
from service.theory.results import Prediction

_LATE = f"Not computed: the time limit of {SECONDS:g} s was reached before."
_PLENTY = 1e6  # times all samples stands for unlimited data
_HELPS = 1e-9  # relative; below it the difference is rounding


def at_best_penalty(mix: TrainingMix) -> TrainingMix:
    """The mix with the last stage's penalty to be found."""
    return variations.with_stage(mix, -1, replace(mix.stages[-1], penalty=OPTIMAL))


def penalty(case: Case, found: Prediction) -> responses.PenaltyAdvice:
    """The best penalty, all else as given."""
    best, flat = found.regularization.recommended, found.regularization.flat_range
    meets = best.total <= case.bound
    verb = "meets" if meets else "does not meet"
    if isfinite(best.penalty):
        sentence = (
            f"Penalty {number(best.penalty)} {verb} the bound: test error {number(best.total)}; from "
            f"{number(flat.low)} to {number(flat.high)} it is at most 1 % more."
        )
    else:
        sentence = (
            f"Predicting zero (an infinite penalty) is best and {verb} the bound: {number(best.total)}."
        )
    return responses.PenaltyAdvice(
        recommended_penalty=finite(best.penalty),
        test_error=finite(best.total),
        flat_range=predictions.FlatRange(low=finite(flat.low), high=finite(flat.high)),
        meets_bound=meets,
        sentence=sentence,
    )


def weights(case: Case) -> responses.WeightAdvice:
    """The best loss weights of the last stage's synthetic sources, jointly with its penalty."""
    sources = case.mix.stages[-1].sources
    free = [] if case.mix.keeps_data else best_weights.free_sources(case.mix)
    if not free:
        why = (
            "Data that are kept have one weight." if case.mix.keeps_data
            else "Only ratios of weights matter, and there are no two sources with samples, one of them synthetic."
        )  # fmt: skip
        return _no_weights("not_applicable", why)
    try:
        found = best_weights.best_weights(
            case.error.population, case.mix, lambda mixes: case.error.together(mixes, 0)
        )
        mix = best_weights.with_weights(case.mix, found.sources, found.weights)
        total = case.error(mix)
    except OutOfTime:
        return _no_weights("not_computed", _LATE)
    kept = best_weights.kept_source(case.mix)
    largest = best_weights.LARGEST * (1.0 if kept is None else sources[kept].weight)
    advice = [
        responses.SourceWeight(
            source=sources[i].name, weight=sources[i].weight, best_weight=None if w >= largest else w
        )
        for i, w in zip(found.sources, found.weights, strict=True)
    ]
    named = ", ".join(
        f'"{one.source}" {"without end" if one.best_weight is None else number(one.best_weight)}'
        for one in advice
    )
    meets = total <= case.bound
    sentence = (
        f"Best weights, jointly with the penalty: {named}. Test error {number(total)} there, "
        f"{'within' if meets else 'above'} the bound."
    )
    return responses.WeightAdvice(
        outcome="found",
        weights=advice,
        penalty=finite(case.penalty_of(mix)),
        test_error=finite(total),
        meets_bound=meets,
        sentence=sentence,
    )


def _no_weights(outcome: responses.Outcome, why: str) -> responses.WeightAdvice:
    return responses.WeightAdvice(
        outcome=outcome, weights=[], penalty=None, test_error=None, meets_bound=None, sentence=why
    )


def sources(case: Case) -> list[responses.SourceAdvice]:
    """Whether each synthetic source of the last stage helps: with and without it, at the best penalty of each."""
    if case.mix.keeps_data:
        return []
    return [_source(case, i) for i in variations.synthetic(case.mix.stages[-1])]


def _source(case: Case, index: int) -> responses.SourceAdvice:
    source = case.mix.stages[-1].sources[index]
    mix = at_best_penalty(case.mix)
    try:
        present, absent = case.error(mix), case.error(variations.without(mix, index))
    except OutOfTime:
        return responses.SourceAdvice(
            source=source.name, helps=None, test_error_with=None, test_error_without=None,
            helps_at_its_best_weight=None, sentence=_LATE,
        )  # fmt: skip
    helps = present < absent * (1.0 - _HELPS)
    sentence = (
        f'"{source.name}" {"helps" if helps else "does not help"}: least test error {number(present)} with it at '
        f"weight {number(source.weight)}, {number(absent)} without it."
    )
    return responses.SourceAdvice(
        source=source.name,
        helps=helps,
        test_error_with=finite(present),
        test_error_without=finite(absent),
        helps_at_its_best_weight=None,
        sentence=sentence,
    )


def at_best_weights(
    sources: list[responses.SourceAdvice], best: responses.WeightAdvice
) -> list[responses.SourceAdvice]:
    """The same, with whether each source helps at its best weight, where that was found."""
    helps = {one.source: one.best_weight != 0 for one in best.weights}

    def told(one: responses.SourceAdvice) -> responses.SourceAdvice:
        at_best = helps.get(one.source)
        more = " At its best weight it does." if at_best and one.helps is False else ""
        return one.model_copy(update={"helps_at_its_best_weight": at_best, "sentence": one.sentence + more})

    return [told(one) for one in sources]


# --- what binds -----------------------------------------------------------------------------------

_CAUSES = {
    "bias": "bias: too few samples, or too large a penalty, to learn the target",
    "variance": "variance: the last fit's own label noise over too few samples",
    "label_noise": "label noise that earlier stages fitted and handed down",
    "distortion": "distortion: what earlier stages did not learn or shrank away",
    "shift": "the shift of synthetic labels from the truth",
    "noise_mismatch": "synthetic labels noisier than real ones",
}


def binding(case: Case, found: Prediction) -> responses.Binding:
    """What keeps the test error above the bound, or would be next."""
    total = found.test_error.total
    try:
        floor = (
            inf if case.mix.keeps_data else case.error(variations.scaled(at_best_penalty(case.mix), _PLENTY))
        )
    except OutOfTime:
        floor = inf
    cause, sentence = _cause(case, found)
    if cause in ("nothing", "penalty") or not isfinite(total):
        return responses.Binding(cause=cause, floor=finite(floor), sentence=sentence)
    if case.bound < floor < inf:
        text = (
            f"{sentence} More data in these proportions cannot help: a million times as many leave {number(floor)}, "
            f"mostly {_CAUSES.get(_largest(found), 'not known')}."
        )
        return responses.Binding(cause="floor", floor=floor, sentence=text)
    return responses.Binding(cause=cause, floor=finite(floor), sentence=sentence)


def _largest(found: Prediction) -> responses.BindingCause:
    """The cause of most of the least error: of what the synthetic data add to clean data's least, if that is the more.

    The best penalty answers noise and shift by more bias: so what the synthetic data cause is compared as a whole.
    """
    error = found.regularization.at_recommended
    own: dict[responses.BindingCause, float] = {"bias": error.bias, "variance": error.variance}
    handed: dict[responses.BindingCause, float] = {
        "label_noise": error.parts.label_noise, "distortion": error.parts.distortion, "shift": error.parts.shift,
        "noise_mismatch": error.parts.noise_mismatch,
    }  # fmt: skip
    parts = handed if error.total > 2.0 * found.clean.best.total else own
    known = {name: value for name, value in parts.items() if isfinite(value) and value > 0}
    return max(known, key=lambda name: known[name]) if known else "unknown"


def _cause(case: Case, found: Prediction) -> tuple[responses.BindingCause, str]:
    total, best = found.test_error.total, found.regularization
    if total <= case.bound:
        part = _largest(found)
        return "nothing", (
            f"Nothing: the test error {number(total)} is within the bound {number(case.bound)}. Most of the least "
            f"one is {_CAUSES.get(part, 'not known')}."
        )
    if not isfinite(total) and best.recommended.penalty == inf:
        return "threshold", (
            "A fit at its interpolation threshold, as many samples as degrees of freedom without penalty: its error is "
            "infinite, and so is every model's that is trained on its labels."
        )
    if best.recommended.total <= case.bound:
        return "penalty", (
            f"The penalty: the test error is {number(total)} at {number(best.penalty)}, and "
            f"{number(best.recommended.total)} at {number(best.recommended.penalty)}."
        )
    if best.recommended.penalty == inf:
        return "unknown", (
            "The labels of the last stage carry nothing of the truth: predicting zero is best, with test error "
            f"{number(best.recommended.total)} against the bound {number(case.bound)}."
        )
    part = _largest(found)
    return part, (
        f"Even at the best penalty the test error is {number(best.recommended.total)} against the bound "
        f"{number(case.bound)}; most of it is {_CAUSES.get(part, 'not known')}."
    )
