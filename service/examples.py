"""One request for every operation that takes JSON, by operation id: shown in the documentation, sent by the tests."""

from typing import Any, Final

_DATASET: Final[dict[str, Any]] = {
    "spectrum": {"kind": "power_law", "dimension": 300, "exponent": 1.5},
    "target": {"kind": "isotropic", "squared_norm": 1.0},
    "noise_variance": 0.25,
}
_GENERATOR: Final[dict[str, Any]] = {
    "name": "generator",
    "penalty": 0.01,
    "sources": [{"labels": "real", "samples": 600, "noise_variance": 1.0}],
}
_FINAL: Final[dict[str, Any]] = {
    "name": "final",
    "penalty": 0.01,
    "sources": [
        {"labels": "real", "samples": 400},
        {"labels": "generator", "samples": 900, "weight": 0.5},
    ],
}
_REQUEST: Final[dict[str, Any]] = {
    "dataset": _DATASET,
    "training_mix": {"kind": "stages", "stages": [_GENERATOR, _FINAL]},
}
_RECURSIVE: Final[dict[str, Any]] = {
    "dataset": _DATASET,
    "training_mix": {
        "kind": "recursive",
        "generations": 3,
        "generator": {"samples": 600, "penalty": 0.01},
        "samples": 300,
        "penalty": 0.01,
    },
}
_RUNS: Final[dict[str, Any]] = {"replicates": 200, "seed": 1}
_GAUSSIAN: Final[dict[str, Any]] = {"generations": 20, "samples": 100, "workflow": {"kind": "replace"}}
_ESTIMATOR: Final[dict[str, Any]] = {
    "generations": 10,
    "samples": 100,
    "workflow": {"kind": "fresh", "real_samples": 20, "weight": "optimal"},
}
_KDE: Final[dict[str, Any]] = {
    "generations": 10,
    "samples": 100,
    "bandwidth": {"kind": "silverman"},
    "workflow": {"kind": "replace"},
}
_MIXTURE: Final[dict[str, Any]] = {
    "generations": 20, "samples": 500, "weights": [0.7, 0.25, 0.05], "separation": 8.0,
}  # fmt: skip
_TAIL: Final[dict[str, Any]] = {
    "law": {"kind": "zipf", "exponent": 1.5},
    "training": {"kind": "mixed", "rank": 1000, "real_fraction": 0.1},
    "samples": 100_000,
}
_VOCABULARY: Final[dict[str, Any]] = {
    "vocabulary": {"kind": "zipf", "types": 10_000, "exponent": 1.1},
    "generations": 10,
    "samples": 100_000,
    "workflow": {"kind": "fresh", "real_fraction": 0.1},
    "ranks": [1, 100, 10_000],
}

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "create_prediction": _REQUEST,
    "create_predictions": {
        "items": [
            {"custom_id": "three generations", "request": _RECURSIVE},
            {"custom_id": "two sources", "request": _REQUEST},
        ]
    },
    "create_uncertain_prediction": {
        **_REQUEST,
        "dataset": {**_DATASET, "noise_variance": {"mean": 0.25, "sd": 0.05}},
    },
    "create_scaling_laws": {
        "dataset": _DATASET,
        "training_mix": {
            "kind": "recursive", "generations": 3, "generator": {"samples": 5000}, "samples": 300, "penalty": 0.01,
        },
    },
    "create_recommendation": {**_RECURSIVE, "bound": {"relative_to": "clean", "factor": 1.5}},
    "create_sweep": {
        "base": _RECURSIVE,
        "axes": [
            {"pointer": "/training_mix/generations", "values": [0, 1, 2, 3]},
            {"pointer": "/training_mix/penalty", "from": 1e-4, "to": 1.0, "points": 5, "scale": "log"},
        ],
    },
    "create_simulation": {
        **_RECURSIVE,
        **_RUNS,
        "method": "wishart",
        "grid": [{"pointer": "/training_mix/penalty", "values": [0.001, 0.01, 0.1]}],
    },
    "create_gaussian_prediction": {**_GAUSSIAN, "thresholds": [0.5]},
    "create_gaussian_recommendation": {
        "samples": 100, "generations": 20, "bound": {"quantity": "variance", "limit": 0.9},
    },
    "create_gaussian_simulation": {**_GAUSSIAN, **_RUNS},
    "create_estimator_prediction": _ESTIMATOR,
    "create_estimator_recommendation": {
        "samples": 100, "generations": None, "bound": {"quantity": "error_variance", "limit": 0.05},
    },
    "create_estimator_simulation": {**_ESTIMATOR, **_RUNS},
    "create_kde_prediction": _KDE,
    "create_kde_recommendation": {
        "samples": 100, "generations": 10, "bandwidth": {"kind": "silverman"},
        "bound": {"quantity": "model_variance", "limit": 1.5},
    },
    "create_kde_simulation": {**_KDE, **_RUNS},
    "create_mixture_prediction": _MIXTURE,
    "create_mixture_recommendation": {
        "samples": 500, "generations": 20, "weights": [0.7, 0.25, 0.05], "separation": 8.0,
        "bound": {"quantity": "lost", "component": 3, "limit": 0.01},
    },
    "create_mixture_simulation": {**_MIXTURE, **_RUNS},
    "create_tail_prediction": _TAIL,
    "create_tail_recommendation": {**_TAIL, "vary": "real_fraction", "bound": {"limit": 0.02}},
    "create_tail_simulation": {**_TAIL, **_RUNS},
    "create_vocabulary_prediction": _VOCABULARY,
    "create_vocabulary_recommendation": {
        "vocabulary": _VOCABULARY["vocabulary"], "samples": 100_000, "generations": 10,
        "bound": {"quantity": "missing_mass", "limit": 0.01},
    },
    "create_vocabulary_simulation": {**_VOCABULARY, **_RUNS},
    "create_ngram_simulation": {
        "text": "dst_aaaaaaaaaaaaaaaaaaaaaaaaaa", "generations": 5,
        "workflow": {"kind": "replace", "kept": 0.1}, **_RUNS,
    },
}  # fmt: skip
