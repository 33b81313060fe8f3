"""The 10,000 test images of MNIST as they are published: gzipped IDX, images and labels apart."""

import os
from pathlib import Path

import numpy as np
import pytest

from service.datasets.ingest import Ingested, Upload, ingest
from service.datasets.schemas import Modulo, RbfMap, UploadOptions

MNIST = Path(os.environ.get("COLLAPSE_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "mnist"
# Images of each digit, 0 to 9.
COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

pytestmark = pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST under COLLAPSE_TEST_DATA ({MNIST})")


def test_published_files_are_read_as_they_are(tmp_path: Path) -> None:
    options = UploadOptions(feature_map=RbfMap(kind="rbf"), target_transform=Modulo(kind="modulo", divisor=2))
    ingested = ingest(
        Upload(
            MNIST / "t10k-images-idx3-ubyte.gz", MNIST / "t10k-labels-idx1-ubyte.gz", options, tmp_path, 10**9
        )
    )
    assert isinstance(ingested, Ingested)
    assert (ingested.count, ingested.columns, ingested.sampled) == (10_000, 784, True)
    rows, labels = np.load(ingested.rows), np.load(ingested.labels)
    assert rows.shape == (5_000, 784)
    assert (rows.min(), rows.max()) == (0.0, 255.0)
    # A sample of half of the images: odd digits as often as in all, within 4 standard deviations.
    share = sum(COUNTS[1::2]) / 10_000
    assert abs(labels.mean() - share) < 4 * np.sqrt(share * (1 - share) / 5_000 * 0.5)


def test_every_digit_is_there(tmp_path: Path) -> None:
    """Labels alone: as rows and as labels of themselves, equal to one digit at a time."""
    from service.datasets.readers import open_upload

    file = MNIST / "t10k-labels-idx1-ubyte.gz"
    matrix, _ = open_upload(file, file, None, None, tmp_path, 10**9)
    digits = np.concatenate(list(matrix.chunks()))[:, 0].astype(int)
    assert np.bincount(digits).tolist() == COUNTS
