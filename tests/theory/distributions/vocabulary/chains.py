"""Independent referees: the Wright-Fisher chain of one type by brute force, and whole vocabularies by Monte Carlo."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom, hypergeom

from service.theory.distributions.vocabulary.decoding import Decoding


def gone_by_chain(p: float, samples: int, models: int, real: int | None = None, share: float = 0.0) -> float:
    """P(type gone from model n): the chain of its count, by matrices of binomial laws.

    ``real``: so many of each later sample are fresh, stratified; ``share``: each is, with this chance.
    """
    j = np.arange(samples + 1)
    law = binom.pmf(j, samples, p)
    matrix = np.empty((samples + 1, samples + 1))
    for count in j:
        if real is None:
            matrix[count] = binom.pmf(j, samples, share * p + (1 - share) * count / samples)
        else:
            synthetic = binom.pmf(j, samples - real, count / samples)
            matrix[count] = np.convolve(synthetic, binom.pmf(np.arange(real + 1), real, p))[: samples + 1]
    for _ in range(models - 1):
        law = law @ matrix
    return float(law[0])


def gone_by_sizes(p: float, sizes: list[int], real: Sequence[float], *, stratified: bool) -> float:
    """P(type gone from the last model) where samples and real ones among them change."""
    law = binom.pmf(np.arange(sizes[0] + 1), sizes[0], p)
    for before, size, m in zip(sizes, sizes[1:], real[1:], strict=False):
        j, after = np.arange(size + 1), np.zeros(size + 1)
        for count in np.flatnonzero(law > 0):
            x = count / before
            if stratified:
                drawn, rest = binom.pmf(np.arange(round(m) + 1), m, p), np.arange(size - round(m) + 1)
                after += law[count] * np.convolve(binom.pmf(rest, size - m, x), drawn)
            else:
                after += law[count] * binom.pmf(j, size, m / size * p + (1 - m / size) * x)
        law = after
    return float(law[0])


def moments_by_chain(p: float, samples: int, models: int) -> tuple[float, float]:
    """E x² and E[−x ln x] of a type's frequency x in model n, in pure replacement."""
    j = np.arange(samples + 1)
    law = binom.pmf(j, samples, p)
    matrix = np.array([binom.pmf(j, samples, count / samples) for count in j])
    for _ in range(models - 1):
        law = law @ matrix
    x = j / samples
    logs = np.where(x > 0, -x * np.log(np.where(x > 0, x, 1.0)), 0.0)
    return float(law @ x**2), float(law @ logs)


def founders_by_chain(samples: int, real: int, models: int) -> tuple[float, float]:
    """Mean and variance of the number of founders with stratified fresh samples, by the law of (lineages, ended)."""
    law = {(samples, 0): 1.0}
    occupied = [_occupied(s, samples) for s in range(samples + 1)]
    for _ in range(models - 1):
        after: dict[tuple[int, int], float] = {}
        for (k, ended), weight in law.items():
            for r in range(min(real, k) + 1):
                chance = hypergeom.pmf(r, samples, real, k)
                for left, share in enumerate(occupied[k - r]):
                    if chance * share > 0:
                        key = (left, ended + r)
                        after[key] = after.get(key, 0.0) + weight * chance * share
        law = after
    totals = np.array([k + r for k, r in law])
    weights = np.array(list(law.values()))
    mean = float(weights @ totals)
    return mean, float(weights @ (totals - mean) ** 2)


def _occupied(balls: int, boxes: int) -> np.ndarray:
    """P(j boxes are occupied) by throwing one ball after another."""
    law = np.zeros(max(balls, 0) + 1)
    law[0] = 1.0
    for _ in range(balls):
        j = np.arange(law.size)
        after = law * j / boxes
        after[1:] += law[:-1] * (boxes - j[:-1]) / boxes
        law = after
    return law


class Run:
    """Replicates of a recursion of multinomial vocabularies, with statistics of one model."""

    def __init__(self, p: np.ndarray, seed: int) -> None:
        self.p, self.generator = p, np.random.default_rng(seed)

    def counts(self, kind: str, samples: int, models: int, real: int = 0, share: float = 0.0) -> np.ndarray:
        """Counts that model n is made of."""
        draw, p = self.generator.multinomial, self.p
        counts = draw(real if kind == "retained" else samples, p)
        kept = counts
        for _ in range(models - 1):
            model = counts / counts.sum()
            if kind == "replace":
                counts = draw(samples, model)
            elif kind == "stratified":
                counts = draw(real, p) + draw(samples - real, model)
            elif kind == "iid":
                counts = draw(samples, share * p + (1 - share) * model)
            elif kind == "retained":
                counts = kept + draw(samples - real, model)
            else:
                counts = counts + draw(samples, model)
        return counts


def statistics(counts: np.ndarray, p: np.ndarray) -> tuple[float, float, float, float]:
    """Diversity, surviving types, missing mass, entropy."""
    x = counts / counts.sum()
    positive = x[x > 0]
    return (
        1.0 - float(x @ x),
        float((counts > 0).sum()),
        float(p[counts == 0].sum()),
        -float(positive @ np.log(positive)),
    )


def by_hand(p0: np.ndarray, decoding: Decoding, share: float, generations: int) -> list[np.ndarray]:
    """Each generation's distribution under a decoding without sampling noise, with nothing clever."""
    p, found = p0.copy(), [p0.copy()]
    for _ in range(generations):
        with np.errstate(divide="ignore"):
            q = np.exp(np.log(p) / decoding.temperature - np.log(p.max()) / decoding.temperature)
        q /= q.sum()
        order = np.argsort(-q, kind="stable")
        keep = q.size if decoding.top_k is None else decoding.top_k
        q[order[keep:]] = 0
        q /= q.sum()
        if decoding.top_p < 1:
            reach = np.cumsum(q[order])
            last = int(np.argmax(reach >= decoding.top_p * (1 - 1e-14)))
            q[order[last + 1 :]] = 0
            q /= q.sum()
        p = share * p0 + (1 - share) * q
        found.append(p.copy())
    return found
