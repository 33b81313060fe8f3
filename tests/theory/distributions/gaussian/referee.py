"""Gaussian recursions drawn sample by sample, or fit by fit with chi-squares: no formula of the theory is used."""

import numpy as np
from numpy.random import Generator, default_rng

from service.theory.model import Array


def replaced(
    values: Array, sizes: list[int], *, unbiased: bool, replicates: int, seed: int
) -> dict[str, Array]:
    """Quantities of the last model after real samples were drawn from each model, for N(0, diag(values))."""
    rng, d = default_rng(seed), len(values)
    mean, root = np.zeros((replicates, d)), np.broadcast_to(np.diag(np.sqrt(values)), (replicates, d, d))
    for size in sizes:
        x = mean[:, None] + rng.standard_normal((replicates, size, d)) @ root.transpose(0, 2, 1)
        mean = x.mean(1)
        centred = x - mean[:, None]
        covariance = centred.transpose(0, 2, 1) @ centred / (size - unbiased)
        root = np.linalg.cholesky(covariance)
    return measured(values, mean, covariance)


def measured(values: Array, mean: Array, covariance: Array) -> dict[str, Array]:
    """Of fits N(mean, covariance) to N(0, diag(values)): what the theory predicts the means of."""
    d = len(values)
    inverse = np.linalg.inv(covariance)
    log_det = np.linalg.slogdet(covariance)[1] - np.log(values).sum()
    v = covariance[:, 0, 0] / values[0]
    scaled = np.sqrt(values)[:, None] * covariance * np.sqrt(values)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(scaled), 0, None)).sum(1)
    trace = (np.diagonal(covariance, axis1=1, axis2=2) / values).sum(1)
    mahalanobis = (mean**2 / values).sum(1)
    reverse = np.einsum("rii,i->r", inverse, values) + np.einsum("ri,rij,rj->r", mean, inverse, mean)
    return {
        "variance": v, "drift": mean[:, 0] ** 2 / values[0], "second_moment": v**2, "log_mean": np.log(v),
        "deviation": np.sqrt(v), "log_det_mean": log_det, "below": (v < 0.6).astype(float),
        "kl_fit_true": 0.5 * (trace + mahalanobis - d - log_det), "kl_true_fit": 0.5 * (reverse - d + log_det),
        "w2": (mean**2).sum(1) + np.trace(covariance, axis1=1, axis2=2) + values.sum() - 2 * cross,
    }  # fmt: skip


def mixed(
    sizes: list[int],
    real: list[int] | float,
    *,
    kept: int = 0,
    unbiased: bool = False,
    replicates: int,
    seed: int,
) -> tuple[Array, Array]:
    """(e, v) of the last fit in one dimension: ``real`` fresh samples per fit (a float: each with that probability),
    or with ``kept`` the same real ones in each; sums of squares drawn as chi-squares."""
    rng = default_rng(seed)
    e, v = np.zeros(replicates), np.ones(replicates)
    retained = (
        _group(rng, np.zeros(replicates), np.ones(replicates), np.full(replicates, kept)) if kept else None
    )
    for index, size in enumerate(sizes):
        if kept:
            m = np.full(replicates, kept)
        elif isinstance(real, float):
            m = rng.binomial(size, real, replicates)
        else:
            m = np.full(replicates, real[index])
        first = retained or _group(rng, np.zeros(replicates), np.ones(replicates), m)
        e, scatter = _pooled(first, _group(rng, e, v, size - m))
        v = scatter / (size - unbiased)
    return e, v


def accumulated(sizes: list[int], *, unbiased: bool, replicates: int, seed: int) -> tuple[Array, Array]:
    """(e, v) of the fit to the pool of all batches, each drawn from the fit to the pool before it."""
    rng = default_rng(seed)
    pool = _group(rng, np.zeros(replicates), np.ones(replicates), np.full(replicates, sizes[0]))
    total = sizes[0]
    for size in sizes[1:]:
        batch = _group(rng, pool[1], pool[2] / (total - unbiased), np.full(replicates, size))
        mean, scatter = _pooled(pool, batch)
        total += size
        pool = np.full(replicates, total), mean, scatter
    return pool[1], pool[2] / (total - unbiased)


Group = tuple[Array, Array, Array]


def _group(rng: Generator, mean: Array, variance: Array, count: Array) -> Group:
    """Number, mean and scatter of so many normal samples."""
    means = mean + np.sqrt(variance / np.maximum(count, 1)) * rng.standard_normal(len(mean))
    scatter = variance * np.where(count > 1, rng.chisquare(np.maximum(count - 1, 1)), 0.0)
    return count.astype(float), means, scatter


def _pooled(a: Group, b: Group) -> tuple[Array, Array]:
    n = a[0] + b[0]
    return (a[0] * a[1] + b[0] * b[1]) / n, a[2] + b[2] + a[0] * b[0] / n * (a[1] - b[1]) ** 2
