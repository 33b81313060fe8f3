"""From the random-walk law to what a client reads: in the family's own units, with its exact laws where it has them."""

from math import inf

import numpy as np

from service.distributions.answering import head
from service.distributions.estimator import responses
from service.distributions.estimator.cost import cost_of, refits_jointly
from service.distributions.estimator.schemas import (
    Efficient,
    EstimatorRequest,
    Exponential,
    LeastSquares,
    Linear,
    Poisson,
    Pool,
    WeightedFresh,
    WeightedRetained,
)
from service.distributions.schedules import mix_of
from service.distributions.schemas import Replace
from service.distributions.validity import Reasons, validity
from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.estimator.families import exponential_scale, poisson_extinction
from service.theory.distributions.estimator.law import Walk, optimal_weight
from service.theory.distributions.schedule import Schedule
from service.theory.model import Array

KIND = "estimator"
LARGEST_FIRST_ORDER = 0.5
"""parameters × V beyond which the first order says nothing."""
ASSUMPTIONS = (
    (
        "The generator is the fit",
        "A generator other than the fitted model adds errors that do not average out.",
    ),
)


def answer(request: EstimatorRequest, schedule: Schedule, walk: Walk) -> responses.EstimatorPrediction:
    """Infinities become null, with the reason in ``validity``."""
    columns = _columns(request, schedule, walk)
    accuracies, cautions = _trust(request, schedule, walk)
    reasons = Reasons(cautions)

    def row(index: int) -> responses.EstimatorGeneration:
        model = int(walk.models[index])
        values = {name: reasons.value(column[index], name) for name, column in columns.items()}
        V = float(walk.spread[index])
        return responses.EstimatorGeneration(
            generation=model - 1, model=model, samples=schedule.at(model), effective_samples=0.0 if inf == V else 1 / V,
            real_weight=float(walk.weight[index]),
            **{"log_variance": None, "extinction": None, **values},
        )  # fmt: skip

    curve = [row(index) for index in range(len(walk.models))]
    growth, optimum = _growth(request, walk.limit), _optimum(request)
    _say_what_is_absent(reasons, columns, walk.limit, growth, optimum)
    return responses.EstimatorPrediction(
        **head(KIND, request),
        final=curve[-1],
        curve=curve,
        limit=None if walk.limit == inf else walk.limit,
        growth=growth,
        optimal_weight=optimum,
        validity=validity(accuracies, reasons, ASSUMPTIONS),
    )


def _say_what_is_absent(
    reasons: Reasons,
    columns: dict[str, Array],
    limit: float,
    growth: str,
    optimum: responses.OptimalWeight | None,
) -> None:
    if limit == inf:
        reasons.absent("limit", growth)
    if "log_variance" not in columns:
        reasons.absent("log_variance", "It is known of the exponential scale under replace.")
    if "extinction" not in columns:
        reasons.absent("extinction", "Only a Poisson mean can be fitted as zero; it is known under replace.")
    if optimum is None:
        reasons.absent("optimal_weight", "There are no fresh real samples to weigh.")
        return
    if optimum.real_per_synthetic is None:
        reasons.absent("optimal_weight/real_per_synthetic", "There are no synthetic samples.")
    for name in ("error_variance", "real_only_error_variance"):
        if getattr(optimum, name) is None:
            reasons.absent(f"optimal_weight/{name}", "So few real samples determine nothing: it is infinite.")


def parameters_of(request: EstimatorRequest) -> int:
    """How many parameters are estimated."""
    family = request.family
    if isinstance(family, LeastSquares):
        return family.dimension
    return family.parameters if isinstance(family, Linear | Efficient) else 1


def _columns(request: EstimatorRequest, schedule: Schedule, walk: Walk) -> dict[str, Array]:
    family, V = request.family, walk.spread
    replaced = isinstance(request.workflow, Replace)
    # beyond the first order's range the efficient family's divergence is not extrapolated
    count = parameters_of(request)
    hidden = np.where(_too_far(request, V), np.nan, 0.0)
    columns = {"error_variance": V, "squared_error": count * V, "kl": 0.5 * count * V + hidden}
    if isinstance(family, Efficient):
        columns["squared_error"] = count * V + hidden
    elif isinstance(family, Poisson):
        columns["squared_error"] = family.mean * V
        if replaced:
            columns["extinction"] = poisson_extinction(family.mean, schedule, walk.models)
    elif isinstance(family, Exponential) and replaced:
        law = exponential_scale(schedule, walk.models)
        columns |= {"squared_error": law.squared_error, "kl": law.kl, "log_variance": law.log_variance}
    return columns


def _first_order(request: EstimatorRequest) -> bool:
    """Whether KL is known to first order only."""
    family = request.family
    if isinstance(family, Exponential):
        return not isinstance(request.workflow, Replace)
    return isinstance(family, Efficient | Poisson)


def _too_far(request: EstimatorRequest, V: Array) -> Array:
    scale = parameters_of(request) / (request.family.mean if isinstance(request.family, Poisson) else 1.0)
    far: Array = np.array(_first_order(request) & (scale * V > LARGEST_FIRST_ORDER))
    return far


def _trust(request: EstimatorRequest, schedule: Schedule, walk: Walk) -> tuple[list[Accuracy], list[Caution]]:
    family, workflow, V = request.family, request.workflow, walk.spread
    finite = V[np.isfinite(V)]
    scale = parameters_of(request) / (family.mean if isinstance(family, Poisson) else 1.0)
    neglected = float(min(scale * finite.max(initial=0.0), LARGEST_FIRST_ORDER))
    law = exact("error_variance", "linear recursion")
    if isinstance(family, LeastSquares) and refits_jointly(request):
        d, smallest = family.dimension, min(schedule.sizes)
        error = (
            0.15 * (d + 1) / max(smallest - d, 1) if _corrected(request) else (d + 1) / max(smallest - d, 1)
        )
        law = approximate("error_variance", min(error, 1.0), "joint refits: first order in d/M")
    elif isinstance(family, Efficient):
        law = approximate("error_variance", neglected, "first order in parameters × V")
    elif isinstance(family, Exponential):
        law = exact("error_variance", "linear recursion; of the scale itself see squared_error")
    if isinstance(workflow, Pool) and workflow.fixed_budget:
        # M draws with replacement from a pool's own values: its variance, below 1 by 1/M, in place of 1
        error = max(law.expected_relative_error, 1.0 / (2 * schedule.last - 1))
        law = approximate("error_variance", error, "first order in 1/M of draws from a pool")
    found = [law]
    if isinstance(family, Exponential) and isinstance(workflow, Replace):
        found += [exact(name, "products of gamma laws") for name in ("squared_error", "kl", "log_variance")]
    else:
        first = _first_order(request) and not isinstance(family, Poisson)
        found.append(
            approximate("squared_error", max(neglected, law.expected_relative_error), law.basis) if first
            else Accuracy("squared_error", law.method, law.expected_relative_error, law.basis)
        )  # fmt: skip
        found.append(
            approximate("kl", max(neglected, law.expected_relative_error), "first order in parameters × V")
            if _first_order(request)
            else Accuracy("kl", law.method, law.expected_relative_error, law.basis)
        )  # fmt: skip
    if isinstance(family, Poisson) and isinstance(workflow, Replace):
        found.append(exact("extinction", "branching process"))
    cautions = []
    if bool(_too_far(request, V).any()):
        names = ("kl", "squared_error") if isinstance(family, Efficient) else ("kl",)
        message = (
            f"parameters × V reaches {scale * finite.max():.3g}; beyond {LARGEST_FIRST_ORDER:g} its first order says "
            "nothing and is not extrapolated. Use more samples or more real data."
        )
        cautions += [Caution("first_order", message, name) for name in names]
    if not np.isfinite(V).all():
        message = (
            "A fit with at most d + 1 samples in d dimensions has an infinite expected error; give it more."
        )
        cautions += [
            Caution("divergent", message, name) for name in ("error_variance", "squared_error", "kl")
        ]
    return found, cautions


def _corrected(request: EstimatorRequest) -> bool:
    workflow = request.workflow
    return isinstance(workflow, Pool) and not workflow.real_fraction and not workflow.fixed_budget


def _optimum(request: EstimatorRequest) -> responses.OptimalWeight | None:
    """Of fresh real samples; a retained set is never improved by what was made from it."""
    workflow = request.workflow
    if not isinstance(workflow, WeightedFresh):
        return None
    mix = mix_of(request, workflow)
    real, synthetic = float(mix.real[-1]), float(mix.others[-1])
    if not real:
        return None
    cost = cost_of(request)
    w, share = optimal_weight(real, synthetic, cost), real / (real + synthetic)
    u = 1.0 - share
    return responses.OptimalWeight(
        real_per_synthetic=real / synthetic if synthetic else None,
        weight=w,
        error_variance=_finite(w * cost(real) if w else inf),
        pooled_error_variance=1.0 / ((real + synthetic) * share * (1.0 + u)),
        real_only_error_variance=_finite(cost(real)),
    )


def _finite(value: float) -> float | None:
    return None if value == inf else value


def _growth(request: EstimatorRequest, limit: float) -> str:
    workflow = request.workflow
    if isinstance(workflow, Replace):
        return "Every generation adds the error of one more fit, for ever."
    if isinstance(workflow, WeightedFresh):
        return (
            "Converges geometrically."
            if limit < inf
            else "No weight on real data: the error grows without bound."
        )
    if isinstance(workflow, WeightedRetained):
        return (
            "Converges geometrically; synthetic data never make up for real ones, so a weight of 1 is best."
        )
    share = workflow.real_fraction
    if share == 0.0:
        return "Converges like 1/generation to a bound, π²/6 (with a fixed budget π²/3) over equal batches."
    if share > 0.5:
        return f"Falls to zero like 1/(({2 * share - 1:.6g}) × samples × generation)."
    if share == 0.5:
        return "Falls to zero like ln(generation)/(samples × generation)."
    return f"Falls to zero like generation^-{2 * share:.6g}: the synthetic pool slows learning down."
