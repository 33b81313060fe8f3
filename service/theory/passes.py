"""The error of the last of several fits in a row on one design, as that of a stage of its own."""

from dataclasses import replace

from service.theory.model import REAL, Population, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Decomposition, assemble
from service.theory.stages import solve


def passes_error(population: Population, stage: Stage) -> Decomposition:
    """Test error of a stage of at least two passes, beside the last pass on real labels alone.

    ``bias`` and ``variance`` are those of one fit of the real data's noise with the last pass's penalty; noise of the
    passes before is ``label_noise``, what they and the last one do together to the truth ``distortion``. Asymptotic,
    but for what the last pass alone does, which is of order 1. See shared_design.py. Raises NotConverged.
    """
    source, last = stage.sources[0], stage.passes[-1]
    response = solve(population, stage, float(stage.penalty))
    weight = population.weight
    left = float(weight @ (response.unlearned_squared * population.target_power))
    total = left + float(weight @ response.fluctuation(population.eigenvalues[:0], 0.0))
    plain = Source(REAL, REAL, source.samples, population.noise_variance)
    clean = predict(population, TrainingMix((Stage("clean", (plain,), last.penalty),)), order=1).test_error
    if total == float("inf") or clean.diverged:
        return replace(clean, total=float("inf"))
    noises = float(response.sensitivities(weight[None])[0][0, 0]) * source.noise_variance
    own = last.noise_share * source.noise_variance
    unit = replace(plain, noise_variance=1.0)
    single = TrainingMix((Stage("clean", (unit,), last.penalty),))
    gain = predict(population, single, order=1).test_error.variance
    asymptotic = predict(population, single).test_error.variance
    found = assemble(
        total + own * (gain - asymptotic),
        clean.bias,
        clean.variance,
        (),
        shift=0.0,
        mismatch=(own - population.noise_variance) * gain,
    )
    label_noise = noises - own * asymptotic
    parts = replace(found.parts, label_noise=label_noise, distortion=found.parts.distortion - label_noise)
    return replace(found, parts=parts)
