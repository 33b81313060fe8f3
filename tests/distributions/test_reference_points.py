"""Published test points of every formula, asked over HTTP: values that were checked against brute force elsewhere.

Model n of the points' source is generation n − 1.
"""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

REPLACE = {"kind": "replace"}
MIXED_SIZES = [5, 50, 20, 8, 100]
EXACT = 1e-11
ZIPF50 = {"kind": "zipf", "types": 50, "exponent": 1.2}

Point = tuple[str, dict[str, Any], dict[str, float], float]


def gaussian(samples: Any, fits: int, values: dict[str, float], rel: float = EXACT, **more: Any) -> Point:
    return "gaussian", {"samples": samples, "generations": fits - 1, "workflow": REPLACE, **more}, values, rel


def wide(samples: int, fits: int, dimension: int, log_determinant: float, kl: float) -> Point:
    spectrum = {"kind": "isotropic", "dimension": dimension}
    values = {"final/log_determinant_mean": log_determinant, "final/kl_true_fit": kl}
    return gaussian(samples, fits, values, spectrum=spectrum)


def replaced(samples: Any, fits: int, estimator: str, four: tuple[float, float, float, float]) -> Point:
    names = ("variance", "log_variance_mean", "standard_deviation", "kl_fit_true")
    values = {f"final/{name}": value for name, value in zip(names, four, strict=True)}
    return gaussian(samples, fits, values, estimator=estimator)


def fixed(samples: int, real: int, estimator: str, variance: float, drift: float) -> Point:
    values = {"fixed_point/variance": variance, "fixed_point/drift": drift}
    return gaussian(samples, 2, values, estimator=estimator, workflow={"kind": "fresh", "real_samples": real})


def fresh(samples: Any, fits: int, real: Any, values: dict[str, float], **more: Any) -> Point:
    workflow = {"kind": "fresh", "real_samples": real, **more.pop("workflow", {})}
    return gaussian(samples, fits, {f"final/{k}": v for k, v in values.items()}, workflow=workflow, **more)


def pooled(samples: Any, fits: int, five: tuple[float, ...]) -> Point:
    names = ("variance", "drift", "variance_second_moment", "log_variance_mean", "standard_deviation")
    values = {f"final/{name}": value for name, value in zip(names, five, strict=True)}
    return gaussian(samples, fits, values, workflow={"kind": "accumulate"})


def vocabulary(samples: Any, fits: int, values: dict[str, float], rel: float = EXACT, **more: Any) -> Point:
    body = {"samples": samples, "generations": fits - 1, "vocabulary": ZIPF50, "workflow": REPLACE, **more}
    return "vocabulary", body, values, rel


def gone(samples: int, fits: int, counts: list[int], value: float, real: int = 0) -> Point:
    workflow = {"kind": "fresh", "real_samples": real} if real else REPLACE
    return vocabulary(
        samples, fits, {"final/gone/0/probability": value}, ranks=[2], workflow=workflow,
        vocabulary={"kind": "counts", "values": counts},
    )  # fmt: skip


def founders(samples: int, fits: int, value: float) -> Point:
    return vocabulary(samples, fits, {"final/founders": value}, 1e-5)


def drifted(types: int, exponent: float, samples: int, fits: int, two: tuple[float, float]) -> Point:
    law = {"kind": "zipf", "types": types, "exponent": exponent}
    values = {"final/missing_mass": two[0], "final/surviving_types": two[1]}
    return vocabulary(samples, fits, values, 1e-5, vocabulary=law)


def tail(
    samples: int, exponent: float, value: float, training: Any = None, rel: float = EXACT, **law: Any
) -> Point:
    body = {
        "samples": samples,
        "law": {"kind": "zipf", "exponent": exponent, **law},
        "training": training or {"kind": "real"},
    }
    return "tail", body, {"test_error": value}, rel


def nfold(generators: int, count: int, samples: int, value: float) -> Point:
    recursive = {"kind": "recursive", "generations": count, "generator_samples": generators}
    return tail(samples, 1.5, value, recursive, 1e-6)


def bigram(samples: int, context: float, token: float, value: float) -> Point:
    law = {"kind": "bigram", "context_exponent": context, "token_exponent": token}
    return "tail", {"samples": samples, "law": law, "training": {"kind": "real"}}, {"test_error": value}, 1e-9


def kde(samples: int, bandwidth: float, generations: int, value: float) -> Point:
    body = {
        "samples": samples,
        "generations": generations - 1,
        "workflow": REPLACE,
        "bandwidth": {"kind": "fixed", "value": bandwidth},
    }
    return "kde", body, {"final/sample_variance": value}, EXACT


def mixture(weight: float, samples: int, fits: int, value: float) -> Point:
    body = {"samples": samples, "generations": fits - 1, "weights": [weight, 1 - weight], "separation": 10.0}
    return "mixture", body, {"final/components/0/variance": value}, EXACT


def estimator(samples: Any, generations: int, workflow: Any, pointer: str, value: float) -> Point:
    body = {"samples": samples, "generations": generations, "workflow": workflow}
    return "estimator", body, {pointer: value}, EXACT


POINTS: list[Point] = [
    replaced(10, 10, "mle", (0.3486784401, -2.2056698607457146, 0.44752764478677004, 1.1028349303728573)),
    replaced(10, 10, "unbiased", (1.0, -1.1520647041674517, 0.7578919961163949, 1.0760323520837258)),
    replaced(MIXED_SIZES, 5, "mle", (0.645183, -0.942426367058099, 0.7136406644801286, 0.4712131835290495)),
    replaced(1000, 5, "unbiased", (1.0, -0.0050066750093423415, 0.9987495314458964, 0.00500333750467117)),
    replaced(2, 3, "mle", (0.125, -5.890530078064271, 0.17958712212516656, 2.9452650390321353)),
    replaced(
        10**9, 50, "mle", (0.9999999500000012, -1.0000000009166667e-07, 0.9999999625000007, 5.0000000045833334e-08)
    ),
    gaussian(10, 10, {"final/below/0/probability": 0.8311995815256479}, thresholds=[0.5]),
    gaussian(MIXED_SIZES, 5, {"final/below/0/probability": 0.5683056684261842}, thresholds=[0.5]),
    gaussian(100, 100, {"final/below/0/probability": 0.5076407691124696}, thresholds=[0.137]),
    wide(20, 6, 3, -2.9357106422649446, 6.845724925781108),
    wide(40, 10, 4, -3.6764519038482173, 7.680328425321362),
    wide(200, 5, 3, -0.22676898470014292, 0.1295264122953663),
    fresh(20, 12, 4, {
        "variance": 0.875272097792, "variance_second_moment": 1.0168588691891685,
        "variance_drift_moment": 0.132390518748, "drift_fourth_moment": 0.0545156141875,
    }),
    fresh(20, 12, 4, {"drift": 0.14774936375370015}, estimator="unbiased"),
    fresh(20, 12, 4, {"variance": 0.8727744615263595}, workflow={"allocation": "iid"}),
    fresh(20, 12, 4, {"variance": 1.1003646364933641}, workflow={"allocation": "iid"}, estimator="unbiased"),
    fresh(50, 30, 1, {
        "variance": 0.7163157893625096, "variance_second_moment": 1.0138297903179336,
        "variance_drift_moment": 0.328842929489, "drift_fourth_moment": 0.347935270518,
    }),
    fresh([30, 10, 100, 40, 25], 5, [5, 2, 0, 8], {"drift": 0.09814811648}),
    fixed(50, 5, "mle", 0.9038461538461539, 0.0961538461538),
    fixed(50, 5, "unbiased", 1.1058823529411765, 0.115294117647),
    fixed(1000, 100, "mle", 0.9947616553169198, 0.00523834468308),
    fixed(1000, 100, "unbiased", 1.0047619047619047, 0.00528571428571),
    fixed(200, 150, "mle", 0.9946737683089214, 0.00532623169108),
    fixed(200, 150, "unbiased", 1.0013404825737264, 0.00533512064343),
    pooled(10, 10, (0.8515020629473719, 0.148497937053, 0.98462323107, -0.326730866192, 0.886112841928)),
    pooled([5, 50, 3, 20, 100], 5, (0.781018312764801, 0.218981687235, 0.959406047934, -0.54140334262, 0.825778712074)),
    pooled(100, 20, (0.9841114872340465, 0.015888512766, 0.999844344786, -0.0320684488489, 0.988058000428)),
    vocabulary(10, 1, {"truth/diversity": 1 - 0.12602299507832138}),
    vocabulary([100, 10, 500, 37], 4, {"final/diversity": 1 - 0.24384813413383707}),
    vocabulary(
        40, 25, {"final/diversity": 1 - 0.22965975093483543},
        workflow={"kind": "fresh", "real_samples": 4, "allocation": "iid"},
    ),
    vocabulary(30, 13, {"final/diversity": 1 - 0.32177205843072676}, workflow={"kind": "retained", "real_samples": 6}),
    gone(20, 200, [7, 3], 0.6999793768118059),
    gone(200, 30, [99, 1], 0.879022730365587),
    gone(100, 30, [1, 1], 0.016430182368564035),
    founders(10**6, 30, 62595.70708599138),
    founders(10**9, 100_000, 19999.406207329317),
    drifted(100_000, 1.1, 10_000, 50, (0.472743031, 215.66053674451965)),
    drifted(1_000_000, 1.5, 10**8, 10, (0.00288273329, 81061.24272192255)),
    drifted(1_000_000, 1.1, 10**9, 10**6, (0.405602752, 954.2585328649405)),
    gone(50, 20, [49, 1], 0.6621396322730158, 5),
    gone(100, 15, [199, 1], 0.7437065704850401, 20),
    gone(10, 30, [4, 1], 0.3800353799843969, 1),
    tail(100_000, 1.2, 0.16222106407143136),
    tail(100_000, 1.5, 0.02028523954258451),
    tail(100_000, 2.0, 0.0021850886671135705),
    tail(100_000, 3.0, 0.00019704155005149666),
    tail(1000, 2.0, 0.021842114969490265, {"kind": "cut", "rank": 10_000}),
    tail(1_000_000, 2.0, 0.0007822553718871441, {"kind": "mixed", "rank": 1000, "real_fraction": 0.1}),
    tail(100_000, 2.0, 0.006066492724041014, {"kind": "narrowed", "exponent": 2.5}),
    nfold(10_000, 1, 1000, 0.09570220424330977),
    nfold(10**6, 100, 10**9, 0.03495541644535601),
    bigram(100, 2.0, 2.0, 0.21183355696408993),
    bigram(10**6, 2.0, 2.0, 0.004604383193310986),
    bigram(10**4, 2.0, 1.5, 0.09822162851822418),
    kde(50, 0.3, 10, 1.5502451758935862),
    kde(20, 0.5, 40, 4.235951373739588),
    kde(200, 0.2, 5, 1.1332587281468758),
    mixture(0.3, 100, 30, 0.28639957016451256),
    mixture(0.5, 100, 5, 0.9009408180805081),
    estimator([5, 50, 10, 100], 3, {"kind": "accumulate"}, "final/error_variance", 0.22256888410734565),
    estimator(50, 3, {"kind": "fresh", "real_samples": 5, "weight": "optimal"}, "limit", 0.05647513922553578),
    estimator(
        50, 10, {"kind": "retained", "real_samples": 10, "weight": 0.2}, "final/error_variance", 0.14393203488684142
    ),
    estimator(15, 9, {"kind": "accumulate", "fixed_budget": True}, "final/error_variance", 0.2066356974888721),
]  # fmt: skip


def at(answer: Any, pointer: str) -> float:
    """The number at a slash-separated path."""
    for part in pointer.split("/"):
        answer = answer[int(part) if isinstance(answer, list) else part]
    assert isinstance(answer, int | float), f"{pointer} is {answer}"
    return float(answer)


@pytest.mark.parametrize("point", POINTS, ids=[f"{i}-{point[0]}" for i, point in enumerate(POINTS)])
async def test_reference_point(http_without_database: httpx.AsyncClient, point: Point) -> None:
    kind, body, values, rel = point
    answer = await http_without_database.post(f"/v1/distributions/{kind}/predictions", json=body)
    assert answer.status_code == 200, answer.text
    for pointer, value in values.items():
        digits = (
            1e-9 if len(f"{value}".replace("0.", "").lstrip("-0")) < 14 else 0.0
        )  # rounded when published
        assert at(answer.json(), pointer) == pytest.approx(value, rel=max(rel, digits)), pointer
