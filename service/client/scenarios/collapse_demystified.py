"""The experiments of *Model Collapse Demystified: The Case of Regression* (Dohmatob, Feng, Kempe, NeurIPS 2024)."""

from typing import Final

from service.client.scenarios.scenario import Axis, Document, Panel, Run, Scenario
from service.client.scenarios.sweep import Number, Sweep, computed

SOURCE: Final = "Dohmatob, Feng, Kempe, Model Collapse Demystified (NeurIPS 2024, arXiv 2402.07712)"
DIMENSION: Final = 300
GENERATIONS: Final = (0, 1, 5, 10, 20)
SIZES: Final = (50, 100, 150, 200, 250, 300, 350, 400, 500, 700, 1_000, 2_000, 5_000, 10_000)
PENALTIES: Final = tuple(10.0 ** (k / 2) for k in range(-8, 5))
ERROR: Final = Axis("test error", logarithmic=True)
SAMPLES: Final = Axis("samples T", logarithmic=True)


def recursive(
    n: int, T_0: int, T: int, penalty: float, *, noise: float, design: str = "independent"
) -> Document:
    """``n`` generators without penalty, then the model that is evaluated; ``noise``: variance of generators' labels."""
    generator = {"samples": T_0, "penalty": 0.0, "noise_variance": noise, "design": design}
    return {
        "kind": "recursive",
        "generations": n,
        "generator": generator,
        "samples": T,
        "penalty": penalty,
    }


def isotropic(noise_variance: float) -> Document:
    """Σ = I, d = 300, ‖w_0‖² = 1."""
    return {
        "spectrum": {"kind": "isotropic", "dimension": DIMENSION},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": noise_variance,
    }


def _isotropic_panels(run: Run) -> tuple[Panel, ...]:
    data, noise = isotropic(0.04), 0.04

    def sweeps(T: int, pointer: str, values: tuple[Number, ...]) -> list[Sweep]:
        return [
            Sweep(
                f"n = {n}",
                {"dataset": data, "training_mix": recursive(n, 600, T, 1e-3, noise=noise)},
                values,
                {pointer: values},
                every=2,
            )
            for n in GENERATIONS
        ]

    over_penalty = computed(sweeps(1_000, "/training_mix/penalty", PENALTIES), run, 40)
    over_size = computed(sweeps(1_000, "/training_mix/samples", SIZES), run, 40)
    return (
        Panel("T = 1000", Axis("penalty λ", logarithmic=True), ERROR, over_penalty),
        Panel("λ = 0.001", SAMPLES, ERROR, over_size),
    )


def _over_parametrised_panels(run: Run) -> tuple[Panel, ...]:
    data = isotropic(0.01)

    def mix(n: int, design: str) -> Document:
        return {
            "dataset": data,
            "training_mix": recursive(n, 150, 1_000, 1e-3, noise=0.0, design=design),
        }

    generations = (0, 1, 2, 3, 5, 7, 10)
    by_design = [
        Sweep(f"{design} designs", mix(1, design), generations, {"/training_mix/generations": generations})
        for design in ("independent", "shared")
    ]

    def by_size(design: str) -> list[Sweep]:
        axes = {"/training_mix/samples": SIZES}
        return [Sweep(f"n = {n}", mix(n, design), SIZES, axes, every=2) for n in (0, 1, 2, 5)]

    return (
        Panel("T = 1000", Axis("generations n"), Axis("test error"), computed(by_design, run, 60)),
        Panel("Independent designs", SAMPLES, ERROR, computed(by_size("independent"), run, 60)),
        Panel("Shared design", SAMPLES, ERROR, computed(by_size("shared"), run, 60)),
    )


ISOTROPIC: Final = Scenario(
    "mcd-isotropic",
    "Isotropic features: the error grows linearly with the generations",
    SOURCE,
    {
        "features": "d = 300, Σ = I, ‖w_0‖² = 1",
        "generators": "n of them, T_0 = 600, no penalty, label noise 0.2 (variance 0.04)",
        "final model": "label noise 0.2; T = 1000 and a sweep over λ; λ = 0.001 per sample and a sweep over T",
        "literal simulation": "40 replicates, every second point",
    },
    "The paper reports a test error that grows linearly with n, with the slope its formula gives, at every λ and T; "
    "the best λ grows with n.",
    _isotropic_panels,
)

OVER_PARAMETRISED: Final = Scenario(
    "mcd-over-parametrised",
    "Over-parametrised generators: collapse without any label noise",
    SOURCE,
    {
        "features": "d = 300, Σ = I, ‖w_0‖² = 1",
        "generators": "T_0 = 150 < d, no penalty, no label noise; designs independent or shared by all generations",
        "final model": "label noise 0.1 (variance 0.01), λ = 0.001 per sample",
        "literal simulation": "60 replicates",
    },
    "The paper reports that with an own design for every generation the error approaches that of predicting nothing "
    "exponentially fast, although no label is noisy; with one shared design it stays where the first generator put it.",
    _over_parametrised_panels,
)
