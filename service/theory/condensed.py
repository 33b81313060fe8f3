"""A spectrum of many modes, condensed: a few dozen nodes stand for them in every sum over modes.

The sums of the theory are Σ_i m_i f(σ_i) and Σ_i m_i w_i² f(σ_i), f a product of S = σ/(σ+θ), U = θ/(σ+θ) at any number
of θ > 0 and of a low power of σ. Where Re σ > 0 no S and no U exceeds 1, so f is analytic and bounded for
|Im ln σ| < π/2, whatever the θ and however many factors there are. On a piece of the spectrum of width ln 4 the
polynomial in ln σ through n Chebyshev points is then right to 4.7^-n of that bound (Trefethen, Approximation Theory and
Approximation Practice, theorem 8.2), so that Σ_i m_i f(σ_i) = Σ_j M_j f(σ_j) with M_j = Σ_i m_i l_j(σ_i), l_j the
Lagrange polynomials: 22 nodes for each factor of 4. Where modes are spread unevenly a node may stand for a negative
number of them, or of what is divided among them: linear in the target's power is all that sums may be.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.theory.model import Array, Population

_WIDEST: Final = log(4.0)  # of a piece, in ln σ
_NODES: Final = 22  # of a piece
_WORTHWHILE: Final = 0.5  # nodes for each mode, at most
_CHUNK: Final = 20_000  # modes at a time
_ALMOST_NONE: Final = (
    1e-30  # modes that a node stands for which has none, so that it may have some of their power
)


def _lagrange() -> tuple[Array, Array]:
    """Chebyshev points in (-1, 1), and the coefficients of their Lagrange polynomials in Chebyshev's: (points, k)."""
    angles = (np.arange(_NODES) + 0.5) * (np.pi / _NODES)
    coefficients = (2.0 / _NODES) * np.cos(np.outer(angles, np.arange(_NODES)))
    coefficients[:, 0] /= 2.0
    return np.cos(angles), coefficients


_POINTS, _COEFFICIENTS = _lagrange()


@dataclass(frozen=True, eq=False)
class Pieces:
    """How modes become nodes.

    ``kept``: modes that stand for themselves, the first nodes; ``others``: the rest, piece by piece; ``starts``: where
    pieces begin; ``places``: of the others in their pieces, from -1 to 1.
    """

    kept: NDArray[np.intp]
    others: NDArray[np.intp]
    starts: list[int]
    places: Array

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Of each piece among the others."""
        return list(zip(self.starts, [*self.starts[1:], self.others.size], strict=True))

    def summed(self, masses: Array) -> Array:
        """What of masses per mode, shape (masses, modes), the nodes stand for, (masses, nodes)."""
        count, others = len(masses), masses[:, self.others]
        sums = np.zeros((len(self.starts), count, _NODES))
        for k, (first, last) in enumerate(self.bounds):
            for a in range(first, last, _CHUNK):
                b = min(a + _CHUNK, last)
                sums[k] += others[:, a:b].dot(_chebyshev(self.places[a:b]).T)
        nodes = sums.dot(_COEFFICIENTS.T).swapaxes(0, 1).reshape(count, sums.shape[0] * _NODES)
        return np.concatenate([masses[:, self.kept], nodes], axis=1)

    def summed_again(self, masses: Array) -> Array:
        """The same, sooner from the second time on where modes are few enough to remember what each one's share is."""
        if self.others.size > _CHUNK:
            return self.summed(masses)
        others, shares = masses.take(self.others, axis=1), self._shares
        nodes = [others[:, a:b].dot(part) for (a, b), part in zip(self.bounds, shares, strict=True)]
        return np.concatenate([masses.take(self.kept, axis=1), *nodes], axis=1)

    @cached_property
    def _shares(self) -> list[Array]:
        """Lagrange's polynomials at the modes of each piece, shapes (modes, nodes)."""
        return [_chebyshev(self.places[a:b]).T.dot(_COEFFICIENTS.T) for a, b in self.bounds]


@dataclass(frozen=True, eq=False)
class Condensation:
    """``population``: of fewer modes, the same in its sums; ``multiplicities``: of the modes that it stands for."""

    population: Population
    multiplicities: Array
    pieces: Pieces

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        modes = self.multiplicities.size
        return 8 * (min(modes, _CHUNK) * _NODES + 5 * modes) + self.population.bytes

    def power(self, power: Array) -> Array:
        """What of ``power``, a number per mode, shape (…, modes), sums over modes see at each node, (…, nodes)."""
        masses = power * self.multiplicities
        found = self.pieces.summed_again(masses.reshape(-1, masses.shape[-1]))
        return np.asarray(found.reshape(*power.shape[:-1], found.shape[1]) / self.population.multiplicities)


def most_nodes(population: Population) -> int:
    """At most so many modes has ``population.condensed``, which is not made for this."""
    sigma = population.eigenvalues
    if population.null_modes > 0:
        return sigma.size
    nodes = _NODES * max(ceil((log(sigma.max()) - log(sigma.min())) / _WIDEST), 1)
    return min(nodes, sigma.size) if nodes <= _WORTHWHILE * sigma.size else sigma.size


def condensation(population: Population) -> Condensation | None:
    """The population with fewer modes, None where that is not worth it."""
    sigma, m = population.eigenvalues, population.multiplicities
    if sigma.size * _WORTHWHILE < _NODES or population.null_modes > 0:
        return None
    x = np.log(sigma)
    low, high = float(x.min()), float(x.max())
    count = max(ceil((high - low) / _WIDEST), 1)
    if not high > low or count > sigma.size:
        return None
    width = (high - low) / count
    place = (x - low) / width
    piece = np.minimum(place.astype(np.intp), count - 1)
    counts = np.bincount(piece, minlength=count)
    dense = counts > _NODES
    if np.minimum(counts, _NODES).sum() > _WORTHWHILE * sigma.size:
        return None
    among = dense[piece]
    kept, others = np.flatnonzero(~among), np.flatnonzero(among)
    others = others[np.argsort(piece[others], kind="stable")]
    sizes = counts[dense]
    starts = (np.cumsum(sizes) - sizes).tolist()
    pieces = Pieces(kept, others, starts, 2.0 * (place[others] - piece[others]) - 1.0)
    points = low + width * (np.flatnonzero(dense)[:, None] + 0.5 * (_POINTS + 1.0))
    mass, power = pieces.summed(np.array([m, m * population.target_power]))
    mass[mass == 0] = _ALMOST_NONE
    nodes = np.concatenate([sigma[kept], np.exp(points).ravel()])
    few = Population(nodes, mass, power / mass, population.noise_variance)
    # sums that are known, which thresholds are compared with
    few.__dict__.update(
        rank=population.rank, null_modes=0.0, trace=population.trace, signal=population.signal
    )
    few.__dict__["condensation"] = None
    return Condensation(few, m, pieces)


def _chebyshev(x: Array) -> Array:
    """T_k(x), k = 0 … nodes − 1, shape (k, x): T_{n+k} = 2 T_n T_k − T_{n−k}."""
    found = np.empty((_NODES, x.size))
    found[0], found[1] = 1.0, x
    n = 1
    while n < _NODES - 1:
        more = min(n, _NODES - 1 - n)
        new = found[n + 1 : n + 1 + more]
        np.multiply(2.0 * found[n], found[1 : more + 1], out=new)
        new -= found[n - more : n][::-1]
        n += more
    return found
