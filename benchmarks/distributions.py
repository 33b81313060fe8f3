"""How long predictions and recommendations about distributions take, beside simulations as accurate.

``python -m benchmarks.distributions``. Processor time, least of several runs, one core. The simulation is the service's
own, of one quantity at the last generation: the time of a replicate × (its relative standard deviation / 1e-3)².
A recommendation is compared with such a simulation of the recommended amount alone: a search takes tens of them.
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy: its waiting threads count as processor time

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.vocabulary import least
from service.distributions.estimator import engine as estimator
from service.distributions.estimator import recommend as estimator_recommend
from service.distributions.estimator.schemas import EstimatorRecommendationRequest, EstimatorRequest
from service.distributions.estimator.simulation import ESTIMATOR
from service.distributions.gaussian import recommend as gaussian_recommend
from service.distributions.gaussian.schemas import GaussianRecommendationRequest
from service.distributions.gaussian.simulation import GAUSSIAN
from service.distributions.kde import engine as kde
from service.distributions.kde import recommend as kde_recommend
from service.distributions.kde.schemas import KdeRecommendationRequest, KdeRequest
from service.distributions.kde.simulation import KDE
from service.distributions.mixture import engine as mixture
from service.distributions.mixture import recommend as mixture_recommend
from service.distributions.mixture.schemas import MixtureRecommendationRequest, MixtureRequest
from service.distributions.mixture.simulation import MIXTURE
from service.distributions.tail import recommend as tail_recommend
from service.distributions.tail.schemas import TailRecommendationRequest
from service.distributions.tail.simulation import TAIL
from service.distributions.vocabulary import recommend as vocabulary_recommend
from service.distributions.vocabulary.schemas import VocabularyRecommendationRequest
from service.distributions.vocabulary.simulation import VOCABULARY

ACCURACY = 1e-3
REPLICATES = 100
Body = dict[str, Any]
BASE: Body = {"samples": 100, "generations": 20}
REPLACE: Body = {"workflow": {"kind": "replace"}}
FRESH: Body = {"workflow": {"kind": "fresh", "real_samples": 10}}
BEST: Body = {"workflow": {"kind": "fresh", "real_samples": 10, "weight": "optimal"}}
FIXED: Body = {"bandwidth": {"kind": "fixed", "value": 0.3}}
FEW: Body = {
    "vocabulary": {"kind": "zipf", "types": 1000, "exponent": 1.1},
    "samples": 10_000,
    "generations": 20,
}
MANY: Body = {
    "vocabulary": {"kind": "zipf", "types": 100_000, "exponent": 1.1},
    "samples": 10**6,
    "generations": 20,
}
MIXED: Body = {"weights": [0.1, 0.3, 0.6], "separation": 10.0}


@dataclass(frozen=True)
class Case:
    """What is asked, and the simulation of ``quantity`` that knows it as well; ``asked``, ``drawn``: the two bodies.

    ``quantity``: its name, or the row of the outcomes. ``own``: the bodies are complete, and not about ``BASE``.
    """

    name: str
    compute: Any
    schema: Any
    asked: Body
    kind: Any
    drawn: Body
    quantity: str | int
    own: bool = False

    def seconds(self) -> float:
        """Of the answer."""
        request = self.schema.model_validate(self.asked if self.own else {**BASE, **self.asked})
        return least(lambda: self.compute(request))

    def simulated_seconds(self) -> float:
        """Of the simulation."""
        base = {} if self.own else {**BASE, "at": [BASE["generations"]]}
        body = {**base, "replicates": REPLICATES, **self.drawn}
        request = self.kind.request.model_validate(body)
        work = self.kind.work(request, self.kind.plan(request, None).points, None)
        work.outcomes(1, 0, 2)
        start = time.process_time()
        row = (
            self.quantity
            if isinstance(self.quantity, int)
            else self.kind.quantities(request).index(self.quantity)
        )
        outcomes = work.outcomes(0, 0, REPLICATES)[row]
        each = (time.process_time() - start) / REPLICATES
        return float(each * max((outcomes.std(ddof=1) / abs(outcomes.mean()) / ACCURACY) ** 2, 1.0))


def estimators(name: str, family: Body, workflow: Body) -> Case:
    """A prediction of a chain of estimates."""
    body = {"family": family, **workflow}
    return Case(
        f"estimator, {name}", estimator.predicted, EstimatorRequest, body, ESTIMATOR, body, "squared_error"
    )


def kernels(name: str, body: Body) -> Case:
    """A prediction of kernel density estimates."""
    return Case(f"kernels, {name}", kde.predicted, KdeRequest, body, KDE, body, "sample_variance")


def _of_no_text(request: VocabularyRecommendationRequest) -> object:
    return vocabulary_recommend.recommended(request, None)


def vocabularies(name: str, body: Body, quantity: str, row: int) -> Case:
    """Fresh real samples that keep a quantity of a vocabulary; the simulation is of one amount of them."""
    limits = {"diversity": 0.9, "surviving_types": 300.0, "missing_mass": 0.05}
    drawn = {**body, "generations": body["generations"] or BASE["generations"]}
    return Case(
        f"recommended for a vocabulary's {name}", _of_no_text,
        VocabularyRecommendationRequest, {**body, "bound": {"quantity": quantity, "limit": limits[quantity]}},
        VOCABULARY, {**drawn, "at": [drawn["generations"]], "workflow": {"kind": "fresh", "real_fraction": 0.1}},
        row, own=True,
    )  # fmt: skip


def tails(name: str, vary: str, training: Body, limit: float) -> Case:
    """What keeps a tail's test error below the limit; the simulation is of about as much."""
    body: Body = {"law": {"kind": "zipf", "exponent": 1.5}, "samples": 10_000}
    enough = {"real_samples": 6_400, "real_fraction": 0.64}
    drawn = {**training, **{key: value for key, value in enough.items() if key in training}}
    return Case(
        f"recommended for a tail: {name}", tail_recommend.recommended, TailRecommendationRequest,
        {**body, "training": training, "vary": vary, "bound": {"limit": limit}}, TAIL, {**body, "training": drawn}, -1,
        own=True,
    )  # fmt: skip


CASES = (
    estimators("Gaussian mean", {"kind": "linear"}, REPLACE),
    estimators("Gaussian mean, 10 fresh, best weights", {"kind": "linear"}, BEST),
    estimators("exponential scale", {"kind": "exponential"}, REPLACE),
    estimators("Poisson mean", {"kind": "poisson", "mean": 3.0}, REPLACE),
    estimators("least squares on 3 features", {"kind": "least_squares", "dimension": 3}, REPLACE),
    kernels("fixed bandwidth", {**FIXED, **REPLACE}),
    kernels("fixed bandwidth, 10 fresh", {**FIXED, **FRESH}),
    Case("mixture", mixture.predicted, MixtureRequest, MIXED, MIXTURE, MIXED, "component_1/variance"),
    Case(
        "recommended for a Gaussian's variance", gaussian_recommend.recommended, GaussianRecommendationRequest,
        {"bound": {"quantity": "variance", "limit": 0.9}}, GAUSSIAN, FRESH, "variance",
    ),
    Case(
        "recommended for an estimator's error", estimator_recommend.recommended, EstimatorRecommendationRequest,
        {"bound": {"quantity": "error_variance", "limit": 0.05}, "weight": "optimal"}, ESTIMATOR,
        {"family": {"kind": "linear"}, **BEST}, "squared_error",
    ),
    Case(
        "recommended for kernels' drift", kde_recommend.recommended, KdeRecommendationRequest,
        {**FIXED, "bound": {"quantity": "drift", "limit": 0.05}}, KDE, {**FIXED, **FRESH}, "drift",
    ),
    Case(
        "recommended for a mixture's components", mixture_recommend.recommended, MixtureRecommendationRequest,
        {**MIXED, "bound": {"quantity": "surviving_components", "limit": 2.9}}, MIXTURE, {**MIXED, **FRESH},
        "component_1/lost",
    ),
    Case(
        "the same for ever, each sample real by chance", mixture_recommend.recommended, MixtureRecommendationRequest,
        {**MIXED, "generations": None, "allocation": "iid",
         "bound": {"quantity": "surviving_components", "limit": 2.9}}, MIXTURE, {**MIXED, **FRESH},
        "component_1/lost",
    ),
    vocabularies("diversity for ever", {**FEW, "generations": None}, "diversity", 0),
    vocabularies("surviving types", FEW, "surviving_types", 1),
    vocabularies("missing mass of a million tokens", MANY, "missing_mass", 2),
    vocabularies("missing mass for ever", {**MANY, "generations": None}, "missing_mass", 2),
    tails("real samples against a cut", "real_samples", {"kind": "counts", "rank": 100, "real_samples": 0}, 0.05),
    tails("real fraction of a mixture", "real_fraction", {"kind": "mixed", "rank": 100, "real_fraction": 0.0}, 0.05),
    tails(
        "generations", "generations", {"kind": "recursive", "generations": 10, "generator_samples": 10_000}, 0.08,
    ),
)  # fmt: skip


def main() -> None:
    print("| | ms | simulation, s | times as long |\n| --- | --- | --- | --- |")
    for case in CASES:
        seconds, simulated = case.seconds(), case.simulated_seconds()
        print(
            f"| {case.name} | {1e3 * seconds:.2f} | {simulated:,.0f} | {simulated / seconds:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
