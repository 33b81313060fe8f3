"""Mean and variance of the lineages behind a model, generation by generation and in long strides.

Where there are many lineages their number is all but normal; two moments (five with fresh real data) carry its law.
"""

from dataclasses import dataclass, fields, replace
from math import exp, expm1, log1p
from typing import Final

_SLOW: Final = 0.02  # share of the lineages lost per generation below which generations are taken in strides
_STRIDE: Final = 0.05  # share of the lineages that a stride may lose
_UNNOTICED: Final = 1e-11  # share of the founders that may still be lost
_LONE: Final = 3.0
_RARE: Final = 0.5  # fresh samples per generation
_GONE: Final = 1e-3  # lineages below which none meets another one any more


@dataclass(frozen=True)
class Fresh:
    """Fresh real samples in every generation: exactly ``share`` of them (``stratified``) or each with that chance."""

    share: float
    stratified: bool


NO_FRESH: Final = Fresh(0.0, stratified=False)


@dataclass(frozen=True)
class Lineages:
    """Moments of k, the lineages that are left, and of R, those that ended in a fresh real sample."""

    mean: float
    variance: float = 0.0
    ended_mean: float = 0.0
    ended_variance: float = 0.0
    covariance: float = 0.0

    @property
    def founders_mean(self) -> float:
        """E (R + k): what the founders are if the generation that is reached is the first."""
        return self.ended_mean + self.mean

    @property
    def founders_variance(self) -> float:
        """Var (R + k)."""
        return max(self.ended_variance + self.variance + 2.0 * self.covariance, 0.0)

    def settled(self, boxes: float, fresh: Fresh) -> bool:
        """Whether nothing more happens to the founders' number: k²/(4 a M) lineages will still meet."""
        to_meet = self.mean * self.mean / (4.0 * fresh.share * boxes) if fresh.share > 0.0 else self.mean
        return self.mean <= _GONE or to_meet <= _UNNOTICED * self.founders_mean


Moments = tuple[float, ...]
_FIELDS: Final = tuple(field.name for field in fields(Lineages))


def back(
    state: Lineages, boxes: int, generations: int, fresh: Fresh, least: float = 0.0
) -> tuple[Lineages, int]:
    """``generations`` back through samples of size ``boxes``, or until the mean is below ``least``, or none is left.

    Returns the lineages, and the generations that were not taken.
    """
    left = generations
    while left > 0 and not state.settled(boxes, fresh) and state.mean >= least:
        if state.mean < _LONE and 0.0 < fresh.share * boxes < _RARE:
            # Lone lineages that wait long for a fresh sample: no two moments carry that. Too few to answer with.
            return Lineages(state.mean, max(state.variance, state.mean)), 0
        if fresh.share == 0.0 and least == 0.0 and state.mean < _LONE:
            return _meeting(state, boxes, left), 0
        rate = 0.5 * max(state.mean - 1.0, 0.0) / boxes + fresh.share  # of one lineage to end or to meet
        length = min(float(left), _STRIDE / rate) if rate > 0.0 else float(left)
        if least > 0.0:  # a stride should not leap over the place where the law is no longer normal
            length = min(length, max(1.9 * boxes * (1.0 / least - 1.0 / state.mean), 1.0))
        length = float(int(length))
        if rate < _SLOW and length >= 4.0:
            state = _stride(state, float(boxes), length, fresh)
            left -= int(length)
        else:
            state = across(state, float(boxes), float(boxes), fresh)
            left -= 1
    return state, left


def _meeting(state: Lineages, boxes: int, generations: int) -> Lineages:
    """Few lineages, none of which ends: those beyond one meet like a pair does, with probability 1/M."""
    if state.mean <= 1.0:
        return state
    left = (1.0 - 1.0 / boxes) ** generations
    beyond = (state.mean - 1.0) * left
    return replace(
        state, mean=1.0 + beyond, variance=state.variance * left, covariance=state.covariance * left
    )


def across(state: Lineages, sample: float, parents: float, fresh: Fresh) -> Lineages:
    """One generation: of the lineages in a ``sample``, some are fresh real and end; the rest has ``parents``."""
    al, k = fresh.share, state.mean
    if al == 0.0:  # none ends
        mean, variance, slope = _occupancy(k, state.variance, parents)
        return Lineages(mean, variance, state.ended_mean, state.ended_variance, state.covariance * slope)
    noise = k * al * (1.0 - al) * (max(1.0 - k / sample, 0.0) if fresh.stratified else 1.0)
    left = (1.0 - al) * k
    left_variance = (1.0 - al) ** 2 * state.variance + noise
    ended_variance = state.ended_variance + al * al * state.variance + noise + 2.0 * al * state.covariance
    covariance = (1.0 - al) * state.covariance + al * (1.0 - al) * state.variance - noise
    mean, variance, slope = _occupancy(left, left_variance, parents)
    return Lineages(mean, variance, state.ended_mean + al * k, ended_variance, covariance * slope)


def _occupancy(mean: float, variance: float, boxes: float) -> tuple[float, float, float]:
    """Moments of the occupied boxes when k balls of these moments fall in ``boxes``; and d mean / d k."""
    if boxes <= 1.0:
        return min(mean, 1.0), 0.0, 0.0
    log = log1p(-1.0 / boxes)
    filled = -expm1(mean * log)
    empty = exp(mean * log)
    slope = -boxes * log * empty
    bend = slope * log
    paired = -expm1(mean * log1p(-1.0 / (boxes - 1.0) ** 2)) if boxes > 2.0 else 1.0
    spread = boxes * empty * filled - boxes * (boxes - 1.0) * empty**2 * paired
    if mean > 2.0:
        moved = boxes * filled + 0.5 * bend * variance
    else:  # pairs that meet: their number is not negative, whatever a normal law says
        moved = mean - max(variance + mean * (mean - 1.0), 0.0) / (2.0 * boxes)
    return moved, max(spread, 0.0) + slope**2 * variance, slope


def _stride(state: Lineages, boxes: float, length: float, fresh: Fresh) -> Lineages:
    """``length`` generations by one step of Runge-Kutta, along the flow that joins the generations."""
    y: Moments = (state.mean, state.variance, state.ended_mean, state.ended_variance, state.covariance)
    if fresh.share == 0.0 and state.covariance == 0.0:  # the others stay as they are
        y = y[:2]
    a = _flow(y, boxes, fresh)
    b = _flow(_moved(y, a, 0.5 * length), boxes, fresh)
    c = _flow(_moved(y, b, 0.5 * length), boxes, fresh)
    d = _flow(_moved(y, c, length), boxes, fresh)
    slope = tuple((p + 2.0 * q + 2.0 * r + s) / 6.0 for p, q, r, s in zip(a, b, c, d, strict=True))
    return replace(state, **dict(zip(_FIELDS, _moved(y, slope, length), strict=False)))


def _flow(y: Moments, boxes: float, fresh: Fresh) -> Moments:
    """The velocity of the flow whose value after one unit of time is the next generation.

    ln(1 + Δ) = Δ − Δ²/2 + Δ³/3 − Δ⁴/4 of the differences over the next four generations.
    """
    one = _generation(y, boxes, fresh)
    two = _generation(one, boxes, fresh)
    three = _generation(two, boxes, fresh)
    four = _generation(three, boxes, fresh)
    return tuple(
        (-25.0 * y0 + 48.0 * y1 - 36.0 * y2 + 16.0 * y3 - 3.0 * y4) / 12.0
        for y0, y1, y2, y3, y4 in zip(y, one, two, three, four, strict=True)
    )


def _generation(y: Moments, boxes: float, fresh: Fresh) -> Moments:
    """As ``across``, of the moments as they stand there; of the first two where the others stay."""
    if len(y) == 2:
        return _occupancy(y[0], y[1], boxes)[:2]
    state = across(Lineages(*y), boxes, boxes, fresh)
    return (state.mean, state.variance, state.ended_mean, state.ended_variance, state.covariance)


def _moved(y: Moments, velocity: Moments, time: float) -> Moments:
    return tuple(value + time * v for value, v in zip(y, velocity, strict=True))
