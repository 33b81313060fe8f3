"""Random designs of every stage, fitted by dense linear algebra, averaged over targets, noises and shifts.

The literal process but for what is linear in it, so that a thousand replicates show an error of one per cent.
"""

import numpy as np

from service.theory.chain import TRUTH, label_indices
from service.theory.model import Array, Population, Shift, Stage, TrainingMix


def average_error(
    population: Population, mix: TrainingMix, replicates: int, seed: int
) -> tuple[float, float]:
    """Mean test error over designs and its standard error; Gaussian features, multiplicities 1."""
    rng = np.random.default_rng(seed)
    errors = [replicate(population, mix, rng) for _ in range(replicates)]
    return float(np.mean(errors)), float(np.std(errors, ddof=1) / replicates**0.5)


def replicate(population: Population, mix: TrainingMix, rng: np.random.Generator) -> float:
    """The test error of one design of every stage."""
    if mix.keeps_data:
        return _keeping(population, mix, rng)
    d, labels = population.eigenvalues.size, label_indices(mix.stages)
    by_truth: list[Array] = []  # e_f = by_truth[f] w + noise of covariance noise[f, f]
    noise: dict[tuple[int, int], Array] = {}
    for f, stage in enumerate(mix.stages):
        if stage.passes:
            assert f == 0
            unlearned, noise[0, 0] = _in_a_row(population, stage, rng)
            by_truth.append(unlearned)
            continue
        grams, resolvent = _design(population, stage, rng)
        learned = [resolvent @ gram for gram in grams]
        truth = sum(learned) - np.eye(d)
        total = sum(source.samples for source in stage.sources)
        own = sum(s.noise_variance * s.weight / total * g for s, g in zip(stage.sources, grams, strict=True))
        variance = resolvent @ own @ resolvent
        terms = list(zip(learned, stage.sources, labels[f], strict=True))
        for a, source, u in terms:
            if u != TRUTH:
                truth = truth + a @ by_truth[u]
                for b, _, v in terms:
                    if v != TRUTH:
                        variance = variance + a @ noise[u, v] @ b.T
            elif isinstance(source.labels, Shift):
                variance = variance + (a * source.labels.power) @ a.T
        for v in range(f):
            cross = sum((a @ noise[u, v] for a, _, u in terms if u != TRUTH), np.zeros((d, d)))
            noise[f, v], noise[v, f] = cross, cross.T
        noise[f, f] = variance
        by_truth.append(truth)
    weighted = population.eigenvalues[:, None] * by_truth[-1] ** 2
    last = len(mix.stages) - 1
    return float(
        (weighted @ population.target_power).sum() + population.eigenvalues @ np.diag(noise[last, last])
    )


def _in_a_row(population: Population, stage: Stage, rng: np.random.Generator) -> tuple[Array, Array]:
    """The last of several fits on one design: its error by the truth, and the covariance of the rest of it."""
    source, d = stage.sources[0], population.eigenvalues.size
    T = source.samples
    X = rng.standard_normal((int(T), d)) * np.sqrt(population.eigenvalues)
    gram = X.T @ X / T
    kept, variance = np.eye(d), np.zeros((d, d))
    for one in stage.passes:
        inverse = np.linalg.inv(gram + one.penalty * np.eye(d)) if one.penalty > 0 else _pseudo_inverse(gram)
        fitted = inverse @ gram
        kept = fitted @ kept
        own = source.noise_variance * one.noise_share / T * inverse @ gram @ inverse
        variance = fitted @ variance @ fitted.T + own
    return kept - np.eye(d), variance


def _keeping(population: Population, mix: TrainingMix, rng: np.random.Generator) -> float:
    """Every fit on all rows so far, whose labels stay as they were: by the normal equations, noise by noise."""
    sigma, d = population.eigenvalues, population.eigenvalues.size
    last, rows = mix.stages[-1], sum(stage.sources[0].samples for stage in mix.stages)
    ridge = float(last.penalty) * rows * np.eye(d)
    grams: list[Array] = []
    labels = [np.eye(d)]  # of each batch: the model, by the truth
    noises: list[list[Array]] = [[]]  # and by X_j' noise_j of every batch j before
    for stage in mix.stages:
        X = rng.standard_normal((int(stage.sources[0].samples), d)) * np.sqrt(sigma)
        grams.append(X.T @ X)
        gram = sum(grams) + ridge
        inverse = np.linalg.inv(gram) if ridge.any() else _pseudo_inverse(gram)
        batches = range(len(grams))
        labels.append(inverse @ sum(grams[k] @ labels[k] for k in batches))
        noises.append([
            inverse @ (np.eye(d) + sum((grams[k] @ noises[k][j] for k in batches if k > j), np.zeros((d, d))))
            for j in batches
        ])  # fmt: skip
    weighted = sigma[:, None] * (labels[-1] - np.eye(d)) ** 2
    spread = sum(
        s.sources[0].noise_variance * float(sigma @ ((by @ gram) * by).sum(axis=1))
        for s, by, gram in zip(mix.stages, noises[-1], grams, strict=True)
    )
    return float((weighted @ population.target_power).sum()) + spread


def _pseudo_inverse(gram: Array) -> Array:
    return np.asarray(np.linalg.pinv(gram, rcond=1e-11, hermitian=True), dtype=np.float64)


def _design(population: Population, stage: Stage, rng: np.random.Generator) -> tuple[list[Array], Array]:
    """Each source's part of the weighted Gram matrix / N, and R."""
    d, total = population.eigenvalues.size, sum(source.samples for source in stage.sources)
    grams = []
    for source in stage.sources:
        eigenvalues = population.eigenvalues if source.eigenvalues is None else source.eigenvalues
        X = rng.standard_normal((int(source.samples), d)) * np.sqrt(eigenvalues)
        grams.append(source.weight * X.T @ X / total)
    projection = np.eye(d)
    if stage.width is not None:
        projection = rng.standard_normal((int(stage.width), d)) / np.sqrt(stage.width)
    seen = projection @ sum(grams) @ projection.T
    penalty = float(stage.penalty)
    ridge = penalty * np.eye(seen.shape[0])
    inverse = np.linalg.inv(seen + ridge) if penalty > 0 else _pseudo_inverse(seen)
    return grams, projection.T @ inverse @ projection
