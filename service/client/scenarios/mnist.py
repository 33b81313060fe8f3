"""Kernel ridge regression on MNIST, as in *Model Collapse Demystified*: parity of digits with noisy labels."""

import gzip
import io
from pathlib import Path
from typing import Final

from service.client.scenarios.collapse_demystified import ERROR, SAMPLES, SOURCE
from service.client.scenarios.power_law import critical_exponent
from service.client.scenarios.scenario import Document, MissingDataError, Panel, Run, Scenario
from service.client.scenarios.sweep import Sweep, computed

IMAGES, DIGITS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
ROWS: Final = 5_000
GENERATOR_SAMPLES: Final = 1_000
SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000)
GENERATIONS: Final = (0, 1, 5, 10, 20)
KERNELS: Final = {
    "RBF kernel": ('{"kind": "rbf"}', 1.65, 0.097),
    "polynomial kernel of degree 5": ('{"kind": "polynomial", "degree": 5}', 1.2, 0.15),
}


def upload(folder: Path | None) -> bytes:
    """A seeded sample of the test images, pixels in [0, 1], and the digits' parity, as an NPZ file.

    Raises MissingDataError.
    """
    import numpy as np  # slow to import; only this scenario needs it

    if folder is None or not (folder / IMAGES).is_file() or not (folder / DIGITS).is_file():
        raise MissingDataError(
            f"this scenario needs MNIST's test set: name the folder that has {IMAGES} and {DIGITS} with --data"
        )
    images = np.frombuffer(gzip.decompress((folder / IMAGES).read_bytes()), np.uint8, offset=16)
    digits = np.frombuffer(gzip.decompress((folder / DIGITS).read_bytes()), np.uint8, offset=8)
    chosen = np.sort(np.random.default_rng(0).choice(digits.size, ROWS, replace=False))
    file = io.BytesIO()
    np.savez(file, X=images.reshape(digits.size, -1)[chosen] / 255.0, y=(digits[chosen] % 2).astype(float))
    return file.getvalue()


def recursive(n: int, penalty: float | str, generator_penalty: float) -> Document:
    """``n`` generators of 1000 images; samples and penalty of the final model change along the curve."""
    return {
        "kind": "recursive",
        "generations": n,
        "generator": {"samples": GENERATOR_SAMPLES, "penalty": generator_penalty},
        "samples": 1,
        "penalty": penalty,
    }


def _panels(run: Run) -> tuple[Panel, ...]:
    file = upload(run.data)
    panels = []
    for title, (feature_map, capacity, source) in KERNELS.items():
        fields = {
            "name": "MNIST, odd or even",
            "target": "y",
            "feature_map": feature_map,
            "noise_variance": "1.0",
        }
        dataset = run.client.describe({"file": ("mnist.npz", file)}, fields)["id"]
        exponent = critical_exponent(capacity, source)
        generator = float(GENERATOR_SAMPLES) ** -exponent
        axes = {
            "/training_mix/samples": SIZES,
            "/training_mix/penalty": [float(T) ** -exponent for T in SIZES],
        }
        sweeps = [
            Sweep(
                f"n = {n}",
                {"dataset": dataset, "training_mix": recursive(n, 1.0, generator)},
                SIZES,
                axes,
                every=2,
                together=True,
            )
            for n in GENERATIONS
        ]
        panels.append(Panel(f"{title}, λ = T^-{exponent:.3g}", SAMPLES, ERROR, computed(sweeps, run, 40)))
    return tuple(panels)


MNIST: Final = Scenario(
    "mcd-mnist",
    "Kernel ridge regression on MNIST: parity of the digits",
    SOURCE,
    {
        "data": f"{ROWS} of the 10,000 test images, a seeded sample; labels are the digit modulo 2",
        "label noise": "variance 1, of generators and final model alike",
        "kernels": "RBF, bandwidth the median distance; polynomial of degree 5, (x·y/784 + 1)^5",
        "generators": f"n of them, T_0 = {GENERATOR_SAMPLES}, λ = T_0^-ℓ (our choice: the settings have neither)",
        "final model": "T from 1 to 1000, λ = T^-ℓ per sample, ℓ = β/(2 β r + 1) with the published (β, r): "
        "(1.65, 0.097) for RBF, (1.2, 0.15) for the polynomial",
        "literal simulation": "40 replicates on the images, every second point",
    },
    "The paper reports that the scaling law of the clean labels breaks off after generations of synthetic ones, on "
    "real images as in its theory of power laws.",
    _panels,
)
