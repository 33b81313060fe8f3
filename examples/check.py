"""Does a simulation agree with the prediction? 0: yes; 1: no, or it cannot tell.

    python examples/check.py SIMULATION.yaml

SIMULATION.yaml is what POST /v1/simulations takes. Interrupted and started again it finds the simulation it had begun.
"""

import hashlib
import os
import sys
from pathlib import Path

import httpx
import yaml

URL = os.environ.get("COLLAPSE_URL", "http://127.0.0.1:8000")


def main(path: str) -> int:
    """Submit the plan at this path, or find it again, and compare."""
    text = Path(path).read_text(encoding="utf-8")
    with httpx.Client(base_url=URL, timeout=60) as service:
        key = hashlib.sha256(text.encode()).hexdigest()  # the same plan is the same simulation
        submitted = service.post(
            "/v1/simulations", json=yaml.safe_load(text), headers={"Idempotency-Key": key}
        )
        submitted.raise_for_status()
        place = submitted.headers["Location"]
        while True:
            found = service.get(place, headers={"Prefer": "wait=30"}).raise_for_status().json()
            if found["state"] not in ("queued", "running"):
                break
    if found["state"] != "succeeded":
        print(found["state"], found["failure"])
        return 1
    for point in found["points"]:
        where = ", ".join(f"{name.rsplit('/', 1)[1]} {value}" for name, value in point["parameters"].items())
        predicted, simulated = point["prediction"]["total"], point["test_error"]
        print(
            f"{where}: predicted {predicted:.4f}, "
            f"simulated {simulated['mean']:.4f} ± {simulated['standard_error']:.4f}"
        )
    print(f"theory and simulation: {found['agreement']['verdict']}")
    return 0 if found["agreement"]["verdict"] == "agree" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
