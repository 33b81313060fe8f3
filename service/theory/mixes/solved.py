"""The stages of many mixes, solved: fits and moments of all but the last, and where the last one's penalties lead."""

import numpy as np

from service.theory.mixes.designs import Designs, solve
from service.theory.mixes.fits import Fits
from service.theory.mixes.moments import moments
from service.theory.mixes.scenarios import Mixes, Numbers
from service.theory.model import Array, Population


class Solved:
    """``designs``: of the last stage, one or one for each scenario; ``fits``, ``moments``: of the stages before."""

    def __init__(self, population: Population, mixes: Mixes) -> None:
        self.population, last = population, mixes.numbers[-1]
        distinct: dict[bytes, Numbers] = {}  # stages of equal numbers are solved once
        keys = []
        for numbers in mixes.numbers:
            parts = numbers.samples, numbers.weights, numbers.penalty
            keys.append(b"|".join(part.tobytes() for part in parts))
            distinct.setdefault(keys[-1], numbers)
        places, designs, penalties = _table(distinct)
        theta, shares = solve(population, designs, penalties)
        fits: dict[bytes, Fits] = {}
        for key, numbers in zip(keys[:-1], mixes.numbers, strict=False):
            if key not in fits:
                rows, sources = places[key], numbers.samples.shape[1]
                fits[key] = Fits(population, designs.rows(rows, sources), theta[rows], shares[rows, :sources])
        self.fits = [fits[key] for key in keys[:-1]]
        noise = [numbers.noise for numbers in mixes.numbers[:-1]]
        self.moments = moments(population, mixes.links, mixes.powers, self.fits, noise)
        rows, sources = places[keys[-1]], last.samples.shape[1]
        own = max(len(last.samples), len(last.weights))
        self.designs = designs.rows(slice(rows.start, rows.start + own), sources)
        self._given = last.penalty, theta[rows], shares[rows, :sources]

    def at(self, penalties: Array) -> tuple[Array, Array]:
        """Effective ridges and shares of the last stage at penalties, one or one for each scenario."""
        designs = self.designs
        if penalties.size > len(designs.active):
            designs = designs.repeated(penalties.size)
        elif penalties.size < len(designs.active):
            penalties = np.repeat(penalties, len(designs.active))
        return solve(self.population, designs, penalties)

    def shares_at(self, theta: Array) -> tuple[Array, Array]:
        """Shares and penalties at effective ridges of the last stage, one or one for each scenario."""
        population = self.population
        Q = 1.0 / (population.eigenvalues + theta[:, None])
        df1, left = Q.dot(population.weight), theta * Q.dot(population.multiplicities)
        nu = self.designs.above(df1, left, population.rank)
        g = self.designs.response(nu[:, None], (df1 / self.designs.total)[:, None])
        shares = self.designs.shares(g)[:, :, 0]
        if len(shares) < theta.size:
            shares = np.broadcast_to(shares, (theta.size, shares.shape[1]))
        return shares, theta * self.designs.scale(g)[:, 0]

    def given(self, theta: Array, shares: Array, penalties: Array) -> tuple[Array, Array, Array]:
        """Effective ridges, shares and penalties as given; where the best is asked for, these."""
        penalty, given, own = self._given
        best = np.isnan(penalty)
        if not best.any():
            return given, own, penalty
        return (
            np.where(best, theta, given),
            np.where(best[:, None], shares, own),
            np.where(best, penalties, penalty),
        )


def _table(stages: dict[bytes, Numbers]) -> tuple[dict[bytes, slice], Designs, Array]:
    """The rows of all stages one below the other, as many columns as the most sources: where each one's rows are, their
    designs and penalties."""
    sizes = [max(len(n.samples), len(n.weights), len(n.penalty)) for n in stages.values()]
    most, count = max(n.samples.shape[1] for n in stages.values()), sum(sizes)
    samples, weights, penalties = np.zeros((count, most)), np.zeros((count, most)), np.empty(count)
    places, start = {}, 0
    for (key, numbers), size in zip(stages.items(), sizes, strict=True):
        rows, sources = slice(start, start + size), numbers.samples.shape[1]
        samples[rows, :sources], weights[rows, :sources] = numbers.samples, numbers.weights
        penalties[rows] = numbers.penalty
        places[key] = rows
        start += size
    return places, Designs(samples, weights), penalties
