"""The expected error of a last stage as a function of its effective ridge, from a table of sums over modes."""

from abc import ABC, abstractmethod

import numpy as np

from service.theory.chain import Labels
from service.theory.design import Design
from service.theory.grid import Columns, Sums
from service.theory.model import Array, Population


class Curve(ABC):
    """Something to be minimized over θ.

    ``columns``: what it needs summed; ``features``: whether it has random features.
    """

    columns: Columns | None = None
    features: bool = False

    @abstractmethod
    def __call__(self, sums: Sums) -> tuple[Array, Array]:
        """Value and floor at each point, shapes (points,).

        The value is infinite where no penalty >= 0 leads; at no smaller θ is it below the floor.
        """


class ErrorCurve(Curve):
    """The test error of a stage with one covariance.

    ``noise``: variance of each source's label noise; ``labels``: moments of the models that label it, None where all
    labels are real. With one loss weight the sources enter through their mean alone.
    """

    def __init__(
        self, population: Population, design: Design, noise: Array, labels: Labels | None = None
    ) -> None:
        self.population, self.design, self.noise = population, design, noise
        self.features = design.width is not None
        plain = design.common_weight is not None and not self.features
        self.least_drive = float(design.active_shares @ noise) / design.active if plain else 0.0
        self.live: list[int] = []
        if labels is None:
            return
        weight = population.weight
        if labels.cross.shape[0] == 1:
            cross, own = labels.cross[0], labels.second[0, 0]
            model = own + 2 * cross
            ss = [own * weight]
            if self.features:
                ss = [own * weight, np.zeros_like(own), population.multiplicities * model]
            self.columns = Columns(np.array(ss), (cross * weight)[None], (weight * model)[None])
            return
        if design.common_weight is not None:
            F = design.active_shares
            mixed = np.einsum("s,stm->tm", F, labels.second)
            each = np.einsum("ssm->sm", labels.second)
            own, diagonal = F @ mixed, F @ each
            cross = F @ labels.cross
            # Σ_s F_s E(e_s − ē)², without a difference where labels agree
            apart = np.maximum(each[:, None] + each - 2.0 * labels.second, 0.0)
            spread = 0.5 * weight * np.einsum("s,t,stm->m", F, F, apart)
            ss = [own * weight, spread, population.multiplicities * (own + 2 * cross)]
            su = [cross * weight, spread]
            self.columns = Columns(np.array(ss), np.array(su), (weight * (diagonal + 2 * cross))[None])
            return
        count = labels.cross.shape[0]
        self.live = [s for s in range(count) if labels.second[s, s].any() or labels.cross[s].any()]
        if not self.live:
            return
        cross = labels.cross[self.live]
        pairs = labels.second[np.ix_(self.live, self.live)].reshape(len(self.live) ** 2, -1)
        both = np.concatenate([cross, pairs])
        own = np.einsum("ssm->sm", labels.second)[self.live] + 2 * cross
        self.columns = Columns(
            np.concatenate([weight * both, population.multiplicities * both]), weight * both, weight * own
        )

    def __call__(self, sums: Sums) -> tuple[Array, Array]:
        """See Curve."""
        design, freedom = self.design, sums.freedom
        phi: Array | float = 1.0 / design.active
        if design.common_weight is not None:
            scale = freedom.above_first(design.active) * (design.common_weight / design.total)
            bias, drive, power = self._common(sums)
        else:
            shares, scale = design.shares(
                freedom.above_first(design.active) / design.total, freedom.df1 / design.total
            )
            bias, drive, power, phi = self._weighted(sums, shares)
        h, factor = freedom.df2, None
        if sums.features is not None and design.width is not None:
            f, m = sums.features, design.width
            factor = freedom.above_first(m) / m
            dm = (
                freedom.above_second(m) / m
            )  # not positive below the threshold of the width, or so small as to be 0
            factor = np.where(dm > 0, factor, -1.0)
            dm = np.where(dm > 0, dm, 1.0)
            passed = f.epsilon * (f.power + power) / m / dm
            bias, drive = bias + passed, drive + phi * passed
            h = h + f.epsilon * f.gain / m / dm
            opening = 1.0 - phi * h
        elif design.common_weight is not None:
            opening = freedom.above_second(design.active) / design.active
        else:
            opening = 1.0 - phi * h
        reached = (opening > 0) & (scale >= 0)
        if factor is not None:
            reached &= factor >= 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            amplified = h / opening
            error = bias + amplified * drive
            floor = amplified * self.least_drive  # label noise alone: it only grows as the penalty falls
        return np.where(reached & np.isfinite(error), error, np.inf), floor

    def _common(self, sums: Sums) -> tuple[Array, Array, Array | float]:
        """E‖ē‖²_Σ, Σ_s F_s²/T_s (noise + residual), and the labels' part of Σ E(ē + w)²."""
        noise = float(self.design.active_shares @ self.noise)
        if sums.labels is None or self.columns is None:
            return sums.signal, (noise + sums.signal) / self.design.active, 0.0
        ss, su, uu = sums.labels
        residual = uu[0] + sums.signal
        if len(su) > 1:  # sources that disagree
            residual = residual + ss[1] + 2 * su[1]
        bias = ss[0] - 2 * su[0] + sums.signal
        return bias, (noise + residual) / self.design.active, ss[2] if self.features else 0.0

    def _weighted(self, sums: Sums, shares: Array) -> tuple[Array, Array, Array | float, Array]:
        """The same where the sources' shares depend on θ, and φ = Σ F_s²/T_s."""
        weighting = np.divide(
            shares**2, self.design.samples, out=np.zeros_like(shares), where=self.design.samples > 0
        )
        phi = weighting.sum(axis=1)
        base = sums.signal
        k = len(self.live)
        if k == 0 or sums.labels is None:
            return base, (weighting * (base[:, None] + self.noise)).sum(axis=1), 0.0, phi
        F = shares[:, self.live]
        ss, su, uu = (sums_of.T for sums_of in sums.labels)
        ss_pairs = ss[:, k : k + k * k].reshape(-1, k, k)
        su_cross, su_pairs = su[:, :k], su[:, k:].reshape(-1, k, k)
        mixed, mixed_su = np.einsum("gt,gst->gs", F, ss_pairs), np.einsum("gt,gst->gs", F, su_pairs)
        blend = np.einsum("gs,gs->g", F, mixed)
        cross_su = np.einsum("gs,gs->g", F, su_cross)
        bias = blend - 2 * cross_su + base
        residual = np.repeat(np.maximum(bias, 0.0)[:, None], shares.shape[1], axis=1)  # real labels: e_s = 0
        spread = np.maximum(np.einsum("gss->gs", ss_pairs) - 2 * mixed + blend[:, None], 0.0)
        overlap = np.einsum("gss->gs", su_pairs) + su_cross - mixed_su - cross_su[:, None]
        residual[:, self.live] = np.maximum(spread + 2 * overlap + uu + base[:, None], 0.0)
        plain = ss[:, k + k * k :]
        power = 2 * np.einsum("gs,gs->g", F, plain[:, :k])
        power = power + np.einsum("gs,gst,gt->g", F, plain[:, k:].reshape(-1, k, k), F)
        return bias, (weighting * (residual + self.noise)).sum(axis=1), power, phi


class SamplesCurve(Curve):
    """−1/N, N the number of real samples that reach the test error ``target`` at effective ridge θ (penalty >= 0).

    With one weight the clean error is c + h (σ² + c)/(N − h) for c, h that do not depend on N, so N is explicit;
    its inverse is smooth also where no N is enough (−1/N > 0).
    """

    def __init__(
        self, population: Population, noise_variance: float, width: float | None, target: float
    ) -> None:
        self.population, self.noise_variance, self.target = population, noise_variance, target
        self.width, self.features = width, width is not None

    def __call__(self, sums: Sums) -> tuple[Array, Array]:
        """See Curve; h grows as θ falls, and c is never negative."""
        freedom = sums.freedom
        c, h = sums.signal, freedom.df2
        reached = h > 0
        if sums.features is not None and self.width is not None:
            f, m = sums.features, self.width
            dm = freedom.above_second(m) / m
            reached = reached & (dm > 0) & (freedom.above_first(m) >= 0)
            dm = np.where(reached, dm, 1.0)
            c = c + f.epsilon * f.power / m / dm
            h = h + f.epsilon * f.gain / m / dm
        with np.errstate(
            over="ignore"
        ):  # −infinity far from any N that is enough, 0 or infinity without noise
            rate = (self.target - c) / np.where(reached, h, 1.0) / (self.noise_variance + self.target)  # 1/N
            reached = reached & np.isfinite(rate) & (rate * freedom.df1 <= 1.0)
            floor = -self.target / np.where(h > 0, h, 1.0) / (self.noise_variance + self.target)
        return np.where(reached, -rate, np.inf), floor
