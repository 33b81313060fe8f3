"""How many independent real tokens a model's vocabulary descends from: the law of that number.

Trace the sample of model n backwards: each token was drawn from the model before it, that is, it copies one of the
tokens of that model's sample. Going back, k lineages are k balls that fall into M boxes; those that meet are one from
then on. What is left at the first model, or what was drawn fresh on the way, are real tokens, independent of each
other and of the way. With A of them, P(type i is gone) = E (1 − p_i)^A, exactly, whatever the vocabulary.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr

from service.theory.model import Array

_NEGLIGIBLE: Final = 1e-17
_MANY: Final = 200.0  # founders from which E p^A is next to nothing but for types that nearly all is of
_NOTHING: Final = (
    1490.0  # E z^A is 0 from E A ln z = −1490 on: half of it is left by the law's spread at most
)
_WIDTH: Final = 9.0  # standard deviations of a normal law that are kept


@dataclass(frozen=True, eq=False)
class Founders:
    """The law of the number A ≥ 1 of real tokens behind a model.

    ``mean``, ``variance``: its moments. ``weights``: P(A = ``first`` + j), shape (support,); None where the number is
    so large that its law is taken as normal.
    """

    mean: float
    variance: float
    first: int = 0
    weights: Array | None = None

    @classmethod
    def certain(cls, number: float) -> "Founders":
        """A = number, without doubt."""
        return cls(float(number), 0.0)

    @classmethod
    def of(cls, first: int, weights: Array) -> "Founders":
        """The law given by P(A = first + j)."""
        values = first + np.arange(weights.size, dtype=float)
        mean = float(weights @ values)
        return cls(mean, max(float(weights @ (values - mean) ** 2), 0.0), first, weights)

    def absent(self, p: Array) -> Array:
        """E (1 − p)^A, the probability that a type of probability p is gone; p of any shape."""
        p = np.asarray(p, dtype=float)
        if self.weights is None:
            return np.asarray(np.exp(self._exponent(p)))
        z = 1.0 - p
        summed = np.zeros_like(z)
        for weight in self.weights[::-1]:
            summed = summed * z + weight
        value: Array = summed * z**self.first
        return value

    def present(self, p: Array) -> Array:
        """1 − E (1 − p)^A without cancellation, so that it is right for the rarest types too."""
        p = np.asarray(p, dtype=float)
        if self.weights is None:
            return self.fates(p)[1]
        # 1 − z^a = p Σ_{j < a} z^j: positive terms only
        z = 1.0 - p
        tail = np.cumsum(self.weights[::-1])[::-1]  # P(A ≥ first + j)
        summed = np.zeros_like(z)
        for weight in tail[:0:-1]:
            summed = summed * z + weight
        with np.errstate(divide="ignore"):
            start = -np.expm1(self.first * np.log1p(-p))
        value: Array = start * tail[0] + summed * p * z**self.first
        return value

    def fates(self, p: Array) -> tuple[Array, Array]:
        """``absent`` and ``present``."""
        if self.weights is not None:
            return self.absent(p), self.present(p)
        exponent = self._exponent(np.asarray(p, dtype=float))
        absent = np.exp(exponent)
        present, likely = np.array(1.0 - absent), exponent > -0.5  # where that would cancel
        present[likely] = -np.expm1(exponent[likely])
        return absent, present

    def alike(self, p: Array) -> Array | None:
        """E p^A, the probability that all founders are of a type of probability p; None: not known of this law."""
        p = np.asarray(p, dtype=float)
        if self.variance == 0.0 or (self.weights is None and self.mean >= _MANY):
            value = np.zeros_like(p)
            ruling = p > np.exp(-_NOTHING / self.mean)
            value[ruling] = np.exp(self._of_power(np.log(p[ruling])))
            return value
        if self.weights is None:
            return None
        summed = np.zeros_like(p)
        for weight in self.weights[::-1]:
            summed = summed * p + weight
        return np.asarray(summed * p**self.first)

    def _exponent(self, p: Array) -> Array:
        """ln E (1 − p)^A of a normal law."""
        with np.errstate(divide="ignore"):
            return self._of_power(np.log1p(-p))

    def _of_power(self, log: Array) -> Array:
        """ln E z^A of a normal law, of ln z: A ln z + variance/2 (ln z)²."""
        with np.errstate(invalid="ignore"):
            spread = 0.5 * self.variance * log * log
            # where the second term would win, the normal law has run into negative numbers: the value is about 0
            usable = np.where(-log * self.variance > self.mean, 0.0, spread)
            return np.where(log == -np.inf, -np.inf, self.mean * log + usable)


def normal_weights(mean: float, variance: float) -> Array:
    """P(A = 1), P(A = 2), … of a normal law of these moments, in cells of width one, A ≥ 1."""
    deviation = np.sqrt(max(variance, 1e-12))
    last = int(np.ceil(mean + _WIDTH * deviation)) + 1
    edges = np.arange(0.5, last + 1.0)
    cells = np.diff(ndtr((edges - mean) / deviation), prepend=0.0)[1:]
    weights: Array = cells / cells.sum()
    return weights


def trimmed(weights: Array) -> Array:
    """Weights without the negligible ones at the far end."""
    kept = np.flatnonzero(weights > _NEGLIGIBLE)
    return weights[: int(kept[-1]) + 1] if kept.size else weights[:1]
