"""Kernels against scikit-learn, and against explicit feature vectors."""

import json

import numpy as np
import pytest
from sklearn.metrics.pairwise import linear_kernel, polynomial_kernel, rbf_kernel

from service.theory import kernels

RNG = np.random.default_rng(5)
X = RNG.standard_normal((40, 7))
Y = RNG.standard_normal((25, 7))


def test_linear_agrees_with_sklearn() -> None:
    np.testing.assert_allclose(
        kernels.gram(kernels.Linear(), X, Y), linear_kernel(X, Y), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("bandwidth", [0.1, 1.7, 50.0])
def test_rbf_agrees_with_sklearn(bandwidth: float) -> None:
    expected = rbf_kernel(X, Y, gamma=1 / (2 * bandwidth**2))
    np.testing.assert_allclose(kernels.gram(kernels.Rbf(bandwidth), X, Y), expected, rtol=1e-11, atol=1e-300)


def test_rbf_far_from_the_origin_loses_no_digits() -> None:
    near = kernels.gram(kernels.Rbf(1.7), X, Y)
    np.testing.assert_allclose(kernels.gram(kernels.Rbf(1.7), X + 1e6, Y + 1e6), near, rtol=1e-8)


@pytest.mark.parametrize(("degree", "offset"), [(1, 0.0), (2, 0.0), (5, 1.0), (3, 0.25)])
def test_polynomial_agrees_with_sklearn(degree: int, offset: float) -> None:
    feature_map = kernels.polynomial(X, degree, offset)
    expected = polynomial_kernel(X, Y, degree=degree, gamma=1 / feature_map.scale**2, coef0=offset)
    np.testing.assert_allclose(kernels.gram(feature_map, X, Y), expected, rtol=1e-11, atol=1e-14)


def test_polynomial_of_degree_two_is_the_product_of_its_features() -> None:
    """(x·y)² is the inner product of the vectors of all products x_a x_b."""
    scaled = X / kernels.unit_scale(X)
    phi = np.einsum("na,nb->nab", scaled, scaled).reshape(len(X), -1)
    np.testing.assert_allclose(kernels.gram(kernels.polynomial(X, 2, 0.0), X, X), phi @ phi.T, atol=1e-14)


def test_default_polynomial_is_sklearns_default_on_entries_scaled_to_one() -> None:
    """Pixels of 0 to 255: sklearn's polynomial_kernel (gamma = 1/d, coef0 = 1) of pixels of 0 to 1."""
    pixels = np.random.default_rng(3).uniform(0, 255, (30, 12))
    pixels[4, 7] = 255.0
    expected = polynomial_kernel(pixels / 255, degree=5)
    np.testing.assert_allclose(
        kernels.gram(kernels.polynomial(pixels, 5, 1.0), pixels, pixels), expected, rtol=1e-12
    )


def test_median_heuristic_counts_every_ordered_pair() -> None:
    distances = [float(np.linalg.norm(a - b)) for a in X for b in X]
    assert kernels.rbf(X).bandwidth == pytest.approx(np.median(distances), rel=1e-12)


def test_median_heuristic_of_repeated_rows_is_the_same() -> None:
    assert kernels.rbf(np.repeat(X, 3, axis=0)).bandwidth == pytest.approx(
        kernels.rbf(X).bandwidth, rel=1e-12
    )


def test_median_heuristic_of_many_rows_is_seeded_and_close() -> None:
    """A Gaussian in 7 dimensions: the squared distance is 2 χ²_7, whose median is 2 × 6.3458."""
    many = np.random.default_rng(1).standard_normal((kernels.MEDIAN_ROWS + 500, 7))
    assert kernels.rbf(many).bandwidth == kernels.rbf(many).bandwidth
    assert kernels.rbf(many).bandwidth == pytest.approx(np.sqrt(2 * 6.34581), rel=0.01)


def test_rows_that_fix_no_scale_are_refused() -> None:
    with pytest.raises(kernels.DegenerateRowsError, match="give a bandwidth"):
        kernels.rbf(np.ones((10, 3)))
    with pytest.raises(kernels.DegenerateRowsError):
        kernels.polynomial(np.zeros((10, 3)), 5, 1.0)


@pytest.mark.parametrize(
    "feature_map", [kernels.Linear(), kernels.Rbf(0.1 + 0.2), kernels.Polynomial(5, 1.0, 2416.502856195291)]
)
def test_json_round_trip(feature_map: kernels.FeatureMap) -> None:
    assert kernels.from_json(json.loads(json.dumps(kernels.to_json(feature_map)))) == feature_map


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not a feature map"):
        kernels.from_json({"kind": "sigmoid"})
