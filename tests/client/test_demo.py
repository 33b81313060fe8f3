"""The parts of the demo that need no worker; the whole of it is run by tests/docs."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from service.client import demo


def test_the_digits_are_scikit_learns() -> None:
    with np.load(io.BytesIO(demo.digits())) as file:
        rows, labels = file["X"], file["y"]
    assert rows.shape == (1797, 64)
    assert (rows.min(), rows.max()) == (0.0, 1.0)
    # 178 zeros, 182 ones, 177, 183, 181, 182, 181, 179, 174, 180 (documentation of load_digits): the odd ones
    assert labels.sum() == 182 + 183 + 182 + 179 + 180
    assert set(labels) == {0.0, 1.0}


def test_the_plot_is_the_same_file_for_the_same_numbers(tmp_path: Path) -> None:
    rows = [
        {
            "penalty": penalty,
            "generations": generations,
            "predicted": 0.1 + generations,
            "simulated": 0.11 + generations,
            "standard_error": 0.01,
        }
        for penalty in demo.PENALTIES
        for generations in demo.GENERATIONS
    ]
    for name in ("one.svg", "two.svg"):
        demo.plot({"rows": rows}, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    root = ET.parse(tmp_path / "one.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
