"""From the theory's result to what a client reads: infinities become null, with the reason beside them."""

from dataclasses import dataclass
from math import inf, isfinite

from service import __version__
from service.predictions import power_law, responses, schemas
from service.predictions.echo import echo
from service.theory import results
from service.theory.leverage import is_seen
from service.theory.limits import Limits
from service.theory.model import Population


@dataclass
class _Warnings:
    """Collects the reasons for every null."""

    found: list[responses.ValidityWarning]

    def add(self, code: str, message: str, pointer: str | None = None) -> None:
        self.found.append(responses.ValidityWarning(code=code, message=message, pointer=pointer))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _decomposition(
    error: results.Decomposition, irreducible: float, pointer: str, warnings: _Warnings
) -> responses.Decomposition:
    if error.diverged:
        warnings.add(
            "divergent",
            "The error is infinite: some fit has penalty 0 and as many samples as degrees of freedom, "
            "or one more or fewer. "
            "Any positive penalty, or another number of samples, makes it finite.",
            f"{pointer}/total",
        )
    elif not isfinite(error.generation):
        warnings.add(
            "divergent_baseline",
            "The same stage on clean data, with all its samples in use, has an infinite error: the difference to it, "
            "and what of that is distortion, are minus infinity. The other parts are finite.",
            f"{pointer}/generation",
        )
    parts = error.parts
    return responses.Decomposition(
        total=_finite(error.total),
        bias=_finite(error.bias),
        variance=_finite(error.variance),
        generation=_finite(error.generation),
        generation_parts=responses.GenerationParts(
            label_noise=_finite(parts.label_noise),
            distortion=_finite(parts.distortion),
            shift=_finite(parts.shift),
            noise_mismatch=_finite(parts.noise_mismatch),
        ),
        by_source=[
            responses.SourceNoise(stage=s.stage, source=s.source, label_noise=_finite(s.label_noise))
            for s in error.by_source
        ],
        irreducible=irreducible,
    )


def _best(best: results.Best) -> responses.BestPenalty:
    return responses.BestPenalty(penalty=_finite(best.penalty), total=_finite(best.total))


def _baseline(baseline: results.Baseline, pointer: str, warnings: _Warnings) -> responses.Baseline:
    if not isfinite(baseline.total):
        warnings.add("divergent", "This baseline sits at its interpolation threshold.", f"{pointer}/total")
    if baseline.best.penalty == float("inf"):
        warnings.add("predict_zero", "Predicting zero does best here.", f"{pointer}/best/penalty")
    return responses.Baseline(
        samples=int(baseline.samples),
        total=_finite(baseline.total),
        bias=_finite(baseline.bias),
        variance=_finite(baseline.variance),
        best=_best(baseline.best),
    )


def _power_law(
    prediction: results.Prediction,
    population: Population,
    dataset: schemas.Dataset | str,
    warnings: _Warnings,
) -> responses.PowerLawOptimum | None:
    pointer = "/regularization/power_law"
    law = power_law.law_of(dataset)
    if not isinstance(law, str):
        recursion = power_law.recursion_of(population, prediction.mix, law.dimension)
        if not isinstance(recursion, str):
            return power_law.answer(law, recursion, pointer, warnings.add)
        law = recursion
    warnings.add("not_available", law, pointer)
    return None


def _regularization(
    found: results.Regularization,
    closed_form: responses.PowerLawOptimum | None,
    rows: float,
    irreducible: float,
    warnings: _Warnings,
) -> responses.Regularization:
    """``rows``: of the last stage, from a penalty per sample to one on the sum."""
    if found.recommended.penalty == float("inf"):
        warnings.add(
            "predict_zero",
            "No penalty does better than predicting zero: the labels of the last stage carry nothing of the truth.",
            "/regularization/recommended_penalty",
        )
        message = "The recommended penalty is infinite."
        warnings.add("predict_zero", message, "/regularization/recommended_penalty_sum")
    if found.penalty == float("inf"):
        for name in ("penalty", "penalty_sum"):
            warnings.add("predict_zero", "The best penalty is infinite.", f"/regularization/{name}")
    if found.clean_optimal_penalty == float("inf"):
        warnings.add(
            "predict_zero",
            "Even on clean data no penalty does better than predicting zero.",
            "/regularization/clean_optimal_penalty",
        )
    flat = found.flat_range
    if not isfinite(flat.low):
        warnings.add(
            "predict_zero",
            "No finite penalty comes within 1 % of predicting zero.",
            "/regularization/flat_range/low",
        )
    if flat.high == inf:
        warnings.add(
            "open_end",
            "The range has no upper end: predicting zero is within 1 % of the least test error.",
            "/regularization/flat_range/high",
        )
    if not isfinite(found.effective_samples):
        warnings.add(
            "no_equivalent",
            "No finite number of real samples reaches this test error.",
            "/regularization/effective_samples",
        )
    if not isfinite(found.cost_of_clean_choice):
        warnings.add(
            "divergent",
            "The error at the clean-data optimum is infinite.",
            "/regularization/cost_of_clean_choice",
        )
    return responses.Regularization(
        penalty=_finite(found.penalty),
        penalty_sum=_finite(found.penalty * rows),
        recommended_penalty=_finite(found.recommended.penalty),
        recommended_penalty_sum=_finite(found.recommended.penalty * rows),
        flat_range=responses.FlatRange(low=_finite(flat.low), high=_finite(flat.high)),
        test_error_at_recommended=_decomposition(
            found.at_recommended, irreducible, "/regularization/test_error_at_recommended", warnings
        ),
        clean_optimal_penalty=_finite(found.clean_optimal_penalty),
        cost_of_clean_choice=_finite(found.cost_of_clean_choice),
        effective_samples=_finite(found.effective_samples),
        power_law=closed_form,
    )


def _collapse(limits: Limits, warnings: _Warnings) -> responses.Collapse:
    for name, reason in limits.missing.items():
        warnings.add("not_available", reason, f"/collapse/{name}")
    return responses.Collapse(
        generations_limit=limits.generations_limit,
        growth_per_generation=limits.growth_per_generation,
        worse_than_null_from=limits.worse_than_null_from,
        generations_order=limits.generations_order,
        data_limit=limits.data_limit,
        best_data_limit=limits.best_data_limit,
        strong=limits.strong,
        regime=limits.regime,
        double_descent=[
            responses.Peak.model_validate(
                {"stage": p.stage, "quantity": p.quantity, "position": p.position, "value": p.value}
            )
            for p in limits.double_descent
        ],
    )


def answer(
    prediction: results.Prediction,
    limits: Limits,
    population: Population,
    *,
    prediction_id: str,
    input_hash: str,
    dataset: schemas.Dataset | str,
) -> responses.Prediction:
    """The response; ``dataset``: what the client named, or the id of a stored one."""
    warnings = _Warnings([])
    irreducible = prediction.irreducible
    error = _decomposition(prediction.test_error, irreducible, "/test_error", warnings)
    real_only = prediction.real_only
    if real_only is None:
        warnings.add("no_real_samples", "The last stage has no real samples.", "/baselines/real_only")
    elif prediction.asymptotic_real_only and isfinite(real_only.total):
        warnings.add(
            "asymptotic",
            "The real samples alone are so close to their interpolation threshold that their error has no finite-size "
            "correction: this baseline is asymptotic.",
            "/baselines/real_only",
        )
    return responses.Prediction(
        id=prediction_id,
        engine_version=__version__,
        input_hash=input_hash,
        stages=echo(prediction.mix, population),
        test_error=error,
        baselines=responses.Baselines(
            clean=_baseline(prediction.clean, "/baselines/clean", warnings),
            real_only=None if real_only is None else _baseline(real_only, "/baselines/real_only", warnings),
            null_predictor=prediction.null_predictor,
        ),
        regularization=_regularization(
            prediction.regularization,
            _power_law(prediction, population, dataset, warnings),
            max(prediction.clean.samples, 1.0),
            irreducible,
            warnings,
        ),
        collapse=_collapse(limits, warnings),
        validity=responses.Validity(
            method=prediction.method.value,
            order=1 if prediction.method is results.Method.EXACT else prediction.order,
            expected_relative_error=prediction.expected_relative_error,
            converged=True,
            assumptions=_assumptions(prediction, population, real_features=isinstance(dataset, str)),
            warnings=warnings.found,
        ),
        record=responses.Record(stored=True, reason=None),
    )


def _assumptions(
    prediction: results.Prediction, population: Population, *, real_features: bool
) -> list[responses.Assumption]:
    smallest = min((sum(s.samples for s in stage.sources) for stage in prediction.mix.stages), default=0.0)
    asymptotic = prediction.method is not results.Method.EXACT
    few = asymptotic and (smallest < FEW_SAMPLES or population.multiplicities.sum() < FEW_MODES)
    near = prediction.openness < NEAR_THRESHOLD
    kept = prediction.mix.keeps_data
    return [
        responses.Assumption(
            name="gaussian_features",
            status="violated" if real_features else "unchecked",
            consequence="The formulas take features as Gaussian with the given covariance. "
            + (
                "Rows are not: expected_relative_error has what their leverages say of it; simulate to see."
                if real_features and is_seen(population, prediction.mix)
                else "Rows are not, and expected_relative_error has nothing of it here: their leverages say nothing of "
                "a covariance that is not theirs, and descriptions by older versions lack them."
                if real_features
                else "Bounded, weakly dependent features agree closely; heavy tails or few distinct rows do not: "
                "simulate to see."
            ),
        ),
        responses.Assumption(
            name="fresh_samples",
            status="met",
            consequence="Every stage draws its own samples beside all that it keeps; the formula is that of kept rows."
            if kept
            else "Passes of one stage are fitted on the same rows; every stage draws its own."
            if any(stage.passes for stage in prediction.mix.stages)
            else "Every stage draws its own samples; reused rows change the error.",
        ),
        responses.Assumption(
            name="many_samples_and_modes",
            status="violated" if few else "met",
            consequence=f"Asymptotic values: with fewer than {FEW_SAMPLES} samples in a stage or {FEW_MODES} modes "
            "they are a rough guide.",
        ),
        responses.Assumption(
            name="away_from_interpolation_threshold",
            status="violated" if near and asymptotic else "met",
            consequence="Near the threshold the error is large and the asymptotic value understates it.",
        ),
        responses.Assumption(
            name="shared_eigenbasis",
            status="met" if prediction.mix.has_matrices else "unchecked",
            consequence="Covariances are those given, in the data set's eigenbasis."
            if prediction.mix.has_matrices
            else "Covariances of different sources are taken as jointly diagonal; give a covariance matrix otherwise.",
        ),
    ]


FEW_SAMPLES = 50
FEW_MODES = 20
NEAR_THRESHOLD = 0.05
