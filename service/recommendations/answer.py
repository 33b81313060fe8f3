"""From a compiled request to its recommendations."""

from functools import partial
from math import isfinite
from typing import Literal

from service import __version__
from service.errors import InvalidInput
from service.predictions.compile import compile_mix
from service.predictions.schemas import Dataset
from service.recommendations import advice, questions, responses, schemas
from service.recommendations.changes import single_changes
from service.recommendations.evaluation import Evaluator
from service.recommendations.questions import Case
from service.recommendations.searches import finite, number
from service.theory.errors import NotConverged, Unsupported
from service.theory.model import OPTIMAL, Population, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Prediction


def recommended(
    request: schemas.RecommendationRequest, population: Population, mix: TrainingMix, order: Literal[0, 1] = 1
) -> responses.Recommendation:
    """The answer to a compiled request. Raises InvalidInput where there is no formula for it."""
    error = Evaluator(population, order)
    try:
        found = predict(population, mix, order=order)
    except Unsupported as problem:
        raise InvalidInput.at("/training_mix", "unsupported", str(problem)) from problem
    except NotConverged as problem:
        raise InvalidInput.at(
            "/training_mix", "not_converged", f"{problem}; no value is returned"
        ) from problem
    bound = bound_value(request.bound, found)
    base = found.mix
    if mix.stages[-1].penalty == OPTIMAL:
        base = advice.at_best_penalty(base)
    dataset = request.dataset if isinstance(request.dataset, Dataset) else None
    case = Case(
        request.training_mix,
        population,
        base,
        partial(compile_mix, population=population, dataset=dataset),
        error,
        bound.test_error,
    )
    total = found.test_error.total
    meets = total <= bound.test_error
    penalty, binding = advice.penalty(case, found), advice.binding(case, found)
    sources = advice.sources(case)
    searched = {
        "synthetic_samples": questions.synthetic_samples(case),
        "synthetic_share": questions.synthetic_share(case),
        "generations": questions.generations(case),
    }
    real = questions.real_samples(case)
    weights = advice.weights(case)  # last: with many sources it may take all the time there is
    share = searched["synthetic_share"].answer
    assert isinstance(share, responses.ShareSearch)
    answer = responses.Recommendation(
        engine_version=__version__,
        order=order,
        bound=bound,
        test_error=finite(total),
        meets_bound=meets,
        penalty=penalty,
        weights=weights,
        synthetic_samples=searched["synthetic_samples"].answer,
        synthetic_share=share,
        real_samples=[one.answer for one in real if isinstance(one.answer, responses.StageSearch)],
        generations=searched["generations"].answer,
        sources=advice.at_best_weights(sources, weights),
        binding=binding,
        cheapest_change=None,
        changes=None,
        sentence=_summary(total, bound.test_error, binding),
    )
    if request.costs is None:
        return answer
    changes = single_changes(request.costs, found, answer, searched, real)
    return answer.model_copy(
        update={
            "changes": changes,
            "cheapest_change": changes[0] if changes else None,
            "sentence": answer.sentence + _cheapest(changes),
        }
    )


def bound_value(bound: schemas.Bound, found: Prediction) -> responses.BoundValue:
    """The bound as a number. Raises InvalidInput where its baseline does not exist or is not positive."""
    if bound.test_error is not None:
        return responses.BoundValue(
            test_error=bound.test_error, relative_to=None, reference=None, factor=None
        )
    at = "/bound/relative_to"
    if bound.relative_to == "real_only":
        if found.real_only is None:
            raise InvalidInput.at(
                at, "no_real_samples",
                "the last stage has no real samples to compare with; use clean, null_predictor or test_error",
            )  # fmt: skip
        reference = found.real_only.best.total
    elif bound.relative_to == "clean":
        reference = found.clean.best.total
    else:
        reference = found.null_predictor
    value = bound.factor * reference
    if not (isfinite(value) and value > 0):
        raise InvalidInput.at(
            at,
            "no_reference",
            f"this baseline's test error is {number(reference)}; give the bound as test_error",
        )
    return responses.BoundValue(
        test_error=value, relative_to=bound.relative_to, reference=reference, factor=bound.factor
    )


def _summary(total: float, bound: float, binding: responses.Binding) -> str:
    numbers = f"test error {number(total)}, at most {number(bound)} is accepted."
    if total <= bound:
        return f"The mix meets the bound: {numbers}"
    return f"The mix exceeds the bound: {numbers} {binding.sentence}"


def _cheapest(changes: list[responses.Change]) -> str:
    if not changes:
        return " No single change that was looked at meets the bound."
    best = changes[0]
    return (
        ""
        if best.kind == "none"
        else f" The cheapest single change costs {number(best.cost)}: {best.sentence}"
    )
