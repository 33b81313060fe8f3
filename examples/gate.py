"""A step of a data pipeline: may this training mix be used? 0: it meets its bound; 1: it does not; 3: a bad plan.

    python examples/gate.py PLAN.yaml

PLAN.yaml is what POST /v1/recommendations takes. The service is at COLLAPSE_URL, else at http://127.0.0.1:8000.
"""

import os
import sys

import httpx
import yaml

URL = os.environ.get("COLLAPSE_URL", "http://127.0.0.1:8000")


def main(path: str) -> int:
    """Ask about the plan at this path."""
    with open(path, encoding="utf-8") as file:
        plan = yaml.safe_load(file)
    with httpx.Client(base_url=URL, timeout=60) as service:
        answer = service.post("/v1/recommendations", json=plan)
    if answer.status_code == 422:
        for error in answer.json()["errors"]:
            print(f"{error['pointer']}: {error['message']}")
        return 3
    answer.raise_for_status()
    advice = answer.json()
    print(advice["sentence"])
    for change in advice["changes"]:
        print(f"- {change['sentence']} (cost {change['cost']:g}, test error {change['test_error']:.4g})")
    return 0 if advice["meets_bound"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
