"""How long a vocabulary's prediction takes, beside a simulation as accurate: ``python -m benchmarks.vocabulary``.

Processor time, least of several runs, one core. The simulation's time for a relative accuracy of 1e-3 is that of one
replicate times (relative standard deviation of one replicate / 1e-3)².
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy: its waiting threads count as processor time

import json
import time
from collections.abc import Callable
from typing import Any

from service.distributions.vocabulary.engine import predicted
from service.distributions.vocabulary.schemas import VocabularyRequest
from service.distributions.vocabulary.simulation import VOCABULARY, VocabularySimulationRequest

ACCURACY = 1e-3
REPLICATES = 12
MILLION = {"vocabulary": {"kind": "zipf", "types": 10**6, "exponent": 1.1}, "generations": 10**6}
DIFFERENT = {
    "vocabulary": {"kind": "counts", "values": [10**12 // i + 10**6 - i for i in range(1, 10**6 + 1)]},
    "generations": 10**6,
}
PLENTIFUL = {
    **MILLION,
    "samples": None,
    "workflow": {"kind": "fresh", "real_fraction": 0.1, "allocation": "iid"},
}
PREDICTIONS = {
    "a million generations, 1e12 tokens": {**MILLION, "samples": 10**12, "workflow": {"kind": "replace"}},
    "a million generations, 1e6 tokens": {**MILLION, "samples": 10**6, "workflow": {"kind": "replace"}},
    "a million generations, 1e12 tokens, 1e9 fresh": {
        **MILLION, "samples": 10**12, "workflow": {"kind": "fresh", "real_samples": 10**9},
    },
    "a million generations, accumulated": {**MILLION, "samples": 10**6, "workflow": {"kind": "accumulate"}},
    "endless Zipf law 1.05, 1e12 tokens": {
        "vocabulary": {"kind": "zipf", "types": None, "exponent": 1.05}, "generations": 10**6, "samples": 10**12,
        "workflow": {"kind": "replace"},
    },
    "a million generations, 1e6 tokens, 1e5 fresh": {
        **MILLION, "samples": 10**6, "workflow": {"kind": "fresh", "real_samples": 10**5},
    },
    "a million generations, 1e6 tokens, 10 retained": {
        **MILLION, "samples": 10**6, "workflow": {"kind": "retained", "real_samples": 10},
    },
    "a million generations, 150 tokens, one fresh": {
        **MILLION, "samples": 150, "workflow": {"kind": "fresh", "real_samples": 1},
    },
    "temperature 0.9, 10 % fresh": {**PLENTIFUL, "decoding": {"temperature": 0.9}},
    "top-k 1,000, 10 % fresh": {**PLENTIFUL, "decoding": {"top_k": 1000}},
    "top-p 0.9, 10 % fresh": {**PLENTIFUL, "decoding": {"top_p": 0.9}},
    "top-k 1,000 of 1e12 tokens": {
        **MILLION, "samples": 10**12, "workflow": {"kind": "replace"}, "decoding": {"top_k": 1000},
    },
    "a million listed counts": {
        "vocabulary": {"kind": "counts", "values": [10**9 // i + 1 for i in range(1, 10**6 + 1)]},
        "generations": 10**6, "samples": 10**12, "workflow": {"kind": "replace"},
    },
    "a million listed counts, all different": {
        **DIFFERENT, "samples": 10**12, "workflow": {"kind": "replace"},
    },
    "a million listed counts, all different, 1e6 tokens, 1e5 fresh": {
        **DIFFERENT, "samples": 10**6, "workflow": {"kind": "fresh", "real_samples": 10**5},
    },
    "a million listed counts, all different, accumulated": {
        **DIFFERENT, "samples": 10**6, "workflow": {"kind": "accumulate"},
    },
    "a million listed counts, all different, top-p 0.9": {
        **DIFFERENT, "samples": None, "workflow": {"kind": "replace"}, "decoding": {"top_p": 0.9},
    },
}  # fmt: skip
SIMULATED = {
    "vocabulary": {"kind": "zipf", "types": 10**5, "exponent": 1.1}, "samples": 10**6, "generations": 20,
    "workflow": {"kind": "replace"}, "at": [20],
}  # fmt: skip


def least(function: Callable[[], object], runs: int = 7) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measured(body: dict[str, Any]) -> tuple[float, float]:
    """Seconds that reading a request and predicting take."""
    text, request = json.dumps(body), VocabularyRequest.model_validate(body)
    read = least(lambda: VocabularyRequest.model_validate(json.loads(text)), 3)
    return read, least(lambda: predicted(request, None))


def main() -> None:
    print("| prediction | reading the request, ms | prediction, ms |\n| --- | --- | --- |")
    for name, body in PREDICTIONS.items():
        read, predict = measured(body)
        print(f"| {name} | {1e3 * read:.1f} | {1e3 * predict:.1f} |")
    request = VocabularySimulationRequest.model_validate({**SIMULATED, "replicates": REPLICATES})
    planned = VOCABULARY.plan(request, None)
    start = time.process_time()
    outcomes = VOCABULARY.work(request, planned.points, None).outcomes(0, 0, REPLICATES)
    seconds = (time.process_time() - start) / REPLICATES
    prediction = least(lambda: predicted(VocabularyRequest.model_validate(SIMULATED), None))
    print(f"\nPrediction of 20 generations of 1e6 tokens: {1e3 * prediction:.1f} ms; to {ACCURACY:g} of\n")
    print(
        "| quantity | replicates | seconds of simulation | times the prediction |\n| --- | --- | --- | --- |"
    )
    rows = zip(planned.points[0]["rows"], outcomes.mean(axis=1), outcomes.std(axis=1, ddof=1), strict=True)
    for row, mean, deviation in rows:
        if mean == 0.0:
            print(f"| {row['quantity']} | 0 in all {REPLICATES} that were run | | |")
            continue
        replicates = max((deviation / mean / ACCURACY) ** 2, 1.0)
        total = replicates * seconds
        print(f"| {row['quantity']} | {replicates:.0f} | {total:.1f} | {total / prediction:.0f} |")


if __name__ == "__main__":
    main()
