"""*Strong Model Collapse* (Dohmatob, Feng, Subramonian, Kempe, ICLR 2025): quality of data, size of the model."""

from typing import Final

from service.client.scenarios.scenario import Axis, Document, Panel, Run, Scenario
from service.client.scenarios.sweep import Sweep, computed

DIMENSION: Final = 600
REAL, SYNTHETIC = 450, 50
QUALITIES: Final = (0.0, 0.1, 0.5, 1.0)
WIDTHS: Final = (50, 100, 200, 300, 400, 450, 500, 550, 600, 750, 1_000, 1_500, 2_000)
PENALTY: Final = 1e-3
NOISE_VARIANCE: Final = 0.01


def penalty_of(published: float, width: int) -> float:
    """The service's penalty for one of the paper: its random features have variance 1/d, the service's 1/m.

    Features longer by √(d/m) with the same fit take a penalty larger by d/m.
    """
    return published * DIMENSION / width


def request(quality: float) -> Document:
    """450 real samples and 50 of test error c² = ``quality``; width and penalty are filled in along the curve."""
    return {
        "dataset": {
            "spectrum": {"kind": "isotropic", "dimension": DIMENSION},
            "target": {"kind": "isotropic", "squared_norm": 1.0},
            "noise_variance": NOISE_VARIANCE,
        },
        "training_mix": {
            "kind": "mixture",
            "real": {"samples": REAL},
            "synthetic": [{"samples": SYNTHETIC, "quality": {"kind": "shift", "test_error": quality}}],
            "penalty": PENALTY,
            "width": DIMENSION,
        },
    }


def real_only() -> Document:
    """The 450 real samples without the synthetic ones."""
    whole = request(0.0)
    return {**whole, "training_mix": {**whole["training_mix"], "synthetic": []}}


def _panels(run: Run) -> tuple[Panel, ...]:
    total = REAL + SYNTHETIC
    axes = {
        "/training_mix/width": WIDTHS,
        "/training_mix/penalty": [penalty_of(PENALTY, m) for m in WIDTHS],
    }
    rates = [m / total for m in WIDTHS]
    sweeps = [Sweep(f"c² = {quality:g}", request(quality), rates, axes, every=2) for quality in QUALITIES]
    sweeps.append(Sweep(f"{REAL} real samples alone", real_only(), rates, axes, every=2))
    x = Axis("parametrization rate m/N", logarithmic=True)
    y = Axis("test error", logarithmic=True)
    return (Panel("Size of the model", x, y, computed(sweeps, run, 40)),)


QUALITY: Final = Scenario(
    "smc-quality",
    "Ten per cent of synthetic data: quality, and the size of the model",
    "Dohmatob, Feng, Subramonian, Kempe, Strong Model Collapse (ICLR 2025, arXiv 2410.04840)",
    {
        "features": "d = 600, Σ = I, ‖w_0‖² = 1; m random features",
        "data": "N = 500: 450 real samples and 50 labelled by a model of test error c² (squared, over Σ)",
        "label noise": f"variance {NOISE_VARIANCE:g} (our choice: the table of settings has none)",
        "penalty": f"λ = {PENALTY:g} per sample in the paper's convention (our choice): {PENALTY:g} × d/m here, "
        "where random features have variance 1/m instead of 1/d",
        "literal simulation": "40 replicates, every second point",
    },
    "The paper reports that even 10 % of synthetic data cost accuracy at every size of the model, more for worse "
    "data; that the cost rises with m up to the interpolation threshold m = N, peaks there, and falls beyond it "
    "without vanishing.",
    _panels,
)
