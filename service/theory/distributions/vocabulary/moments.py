"""Mean and variance of the lineages behind a model, generation by generation and in long strides.

Where there are many lineages their number is all but normal; two moments (five with fresh real data) carry its law.
"""

from dataclasses import dataclass, fields, replace
from math import exp, expm1, log1p
from typing import Final

_SLOW: Final = 0.02  # share of the lineages lost per generation below which generations are taken in strides
_VERY_SLOW: Final = 1e-4  # the same, from which two generations tell how fast
_STRIDE: Final = 0.2  # share of the lineages that a stride may lose
_SHORT_STRIDE: Final = 0.08  # the same where some end
_UNNOTICED: Final = 1e-11  # share of the founders that may still be lost
_LONE: Final = 3.0
_RARE: Final = 0.5  # fresh samples per generation
_GONE: Final = 1e-3  # lineages below which none meets another one any more
_LARGE: Final = 1e4  # boxes from which powers of one over their number are enough
_NEARLY_LINEAR: Final = 0.01  # |x| from which e^x − 1 − x cancels


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
        rate = 0.5 * max(state.mean - 1.0, 0.0) / boxes + fresh.share  # of one lineage to meet or to end
        most = _STRIDE if fresh.share == 0.0 else _SHORT_STRIDE
        length = min(float(left), most / rate) if rate > 0.0 else float(left)
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
    y = _moments(state)
    return Lineages(*_moved(y, _change(y, sample, parents, fresh), 1.0))


def _moments(state: Lineages) -> Moments:
    return (state.mean, state.variance, state.ended_mean, state.ended_variance, state.covariance)


def _change(y: Moments, sample: float, parents: float, fresh: Fresh) -> Moments:
    """What one generation adds to the moments; of the first two where the others stay, if only they are given.

    Nothing cancels, however small a share of the lineages it is.
    """
    mean, variance = y[:2]
    al = fresh.share
    if al == 0.0:  # none ends
        lost, spread, steeper = _occupied(mean, variance, parents)
        change = (lost, spread + steeper * (2.0 + steeper) * variance)
        return change if len(y) == 2 else (*change, 0.0, 0.0, steeper * y[4])
    covariance = y[4]
    noise = mean * al * (1.0 - al) * (max(1.0 - mean / sample, 0.0) if fresh.stratified else 1.0)
    # of those that are left before they fall among their parents
    more_variance = noise - al * (2.0 - al) * variance
    more_covariance = al * ((1.0 - al) * variance - covariance) - noise
    lost, spread, steeper = _occupied((1.0 - al) * mean, variance + more_variance, parents)
    return (
        lost - al * mean,
        more_variance + spread + steeper * (2.0 + steeper) * (variance + more_variance),
        al * mean,
        al * al * variance + noise + 2.0 * al * covariance,
        more_covariance + steeper * (covariance + more_covariance),
    )


def _occupied(mean: float, variance: float, boxes: float) -> tuple[float, float, float]:
    """Of the boxes that are occupied when k balls of these moments fall in ``boxes``: what sets them apart from k.

    E occupied − E k; E Var(occupied | k); and d E occupied/d k − 1. With q = (1 − 1/M)^k = e^-θ and
    pairs = M (M − 1) [1 − (1 − 1/(M − 1)²)^k]: M (1 − q) − k, q [M (1 − q) − q pairs], −M ln(1 − 1/M) q − 1.
    """
    if boxes <= 1.0:
        return min(mean, 1.0) - mean, 0.0, -1.0
    log = log1p(-1.0 / boxes)
    excess = _excess(boxes)
    exponent = mean * log
    filled, q = -expm1(exponent), exp(exponent)
    curve = boxes * _beyond_linear(exponent)
    steeper = expm1(exponent + log1p(excess))
    if boxes > 2.0:
        apart = boxes - 1.0
        log_of_pairs = log1p(-1.0 / apart**2)
        curve_of_pairs = boxes * apart * _beyond_linear(mean * log_of_pairs)
        linear = (
            1.0 / apart + boxes / (2.0 * apart**3) if boxes > _LARGE else -boxes * apart * log_of_pairs - 1.0
        )
        pairs = mean * (1.0 + linear) - curve_of_pairs
        spread = q * (mean * (excess - linear) - curve + curve_of_pairs + filled * pairs)
    else:
        spread = q * boxes * (filled - q * (boxes - 1.0))
    if mean > 2.0:
        lost = mean * excess - curve + 0.5 * (1.0 + steeper) * log * variance
    else:  # pairs that meet: their number is not negative, whatever a normal law says
        lost = -max(variance + mean * (mean - 1.0), 0.0) / (2.0 * boxes)
    return lost, max(spread, 0.0), steeper


def _excess(boxes: float) -> float:
    """−M ln(1 − 1/M) − 1."""
    x = 1.0 / boxes
    return x * (1 / 2 + x * (1 / 3 + x * (1 / 4 + x / 5))) if boxes > _LARGE else -boxes * log1p(-x) - 1.0


def _beyond_linear(x: float) -> float:
    """e^x − 1 − x."""
    if abs(x) > _NEARLY_LINEAR:
        return expm1(x) - x
    return x * x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0))))


def _stride(state: Lineages, boxes: float, length: float, fresh: Fresh) -> Lineages:
    """``length`` generations by one step of Runge-Kutta, along the flow that joins the generations.

    Its coordinates are 1/E k and Var k/E k instead of mean and variance: the first is all but linear in time.
    """
    y = _moments(state)
    if fresh.share == 0.0 and state.covariance == 0.0:  # the others stay as they are
        y = y[:2]
    z = (1.0 / y[0], y[1] / y[0], *y[2:])
    a = _flow(z, boxes, fresh)
    b = _flow(_moved(z, a, 0.5 * length), boxes, fresh)
    c = _flow(_moved(z, b, 0.5 * length), boxes, fresh)
    d = _flow(_moved(z, c, length), boxes, fresh)
    slope = tuple((p + 2.0 * q + 2.0 * r + s) / 6.0 for p, q, r, s in zip(a, b, c, d, strict=True))
    z = _moved(z, slope, length)
    return replace(state, **dict(zip(_FIELDS, (1.0 / z[0], z[1] / z[0], *z[2:]), strict=False)))


def _flow(z: Moments, boxes: float, fresh: Fresh) -> Moments:
    """The velocity of the flow whose value after one unit of time is the next generation.

    ln(1 + Δ) = Δ − Δ²/2 + Δ³/3 − Δ⁴/4 of the differences over the next four generations, or over two slow ones.
    """
    mean = 1.0 / z[0]
    y = (mean, z[1] * mean, *z[2:])
    one = _change(y, boxes, boxes, fresh)
    y = _moved(y, one, 1.0)
    two = _change(y, boxes, boxes, fresh)
    if -one[0] < _VERY_SLOW * mean:
        v = [1.5 * a - 0.5 * b for a, b in zip(one, two, strict=True)]
    else:
        y = _moved(y, two, 1.0)
        three = _change(y, boxes, boxes, fresh)
        four = _change(_moved(y, three, 1.0), boxes, boxes, fresh)
        v = [
            (25.0 * a - 23.0 * b + 13.0 * c - 3.0 * d) / 12.0
            for a, b, c, d in zip(one, two, three, four, strict=True)
        ]
    return (-v[0] * z[0] * z[0], (v[1] - z[1] * v[0]) * z[0], *v[2:])


def _moved(y: Moments, velocity: Moments, time: float) -> Moments:
    return tuple(value + time * v for value, v in zip(y, velocity, strict=True))
