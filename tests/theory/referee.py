"""The theory once more, by other means: second moments of the models (not of their errors), the fixed point by plain
iteration, dense linear systems, 50 digits. Slow, small, and independent of the engine's formulation."""

from collections.abc import Sequence
from dataclasses import dataclass

import mpmath as mp

DIGITS = 50


@dataclass
class RefereeSource:
    labels: int | list  # 0: the truth, k: the k-th stage, a list: power of a shift per mode
    samples: float
    noise: float
    weight: float = 1.0
    sigma: Sequence[float] | None = None


@dataclass
class RefereeStage:
    sources: list[RefereeSource]
    penalty: float
    width: float | None = None


def total_error(sigma: Sequence[float], power: Sequence[float], stages: list[RefereeStage]) -> mp.mpf:
    """E‖ŵ − w_0‖²_Σ of the last stage; ``power``: w_0i² per mode."""
    with mp.workdps(DIGITS):
        s0 = [mp.mpf(v) for v in sigma]
        moments = {(0, 0): [mp.mpf(v) for v in power]}
        for k, stage in enumerate(stages, start=1):
            _fit(s0, moments, stage, k)
        n = len(stages)
        return sum(s * (moments[n, n][i] - 2 * moments[n, 0][i] + moments[0, 0][i]) for i, s in enumerate(s0))


def _fit(s0: list, moments: dict, stage: RefereeStage, k: int) -> None:  # noqa: PLR0915 - the paper's order
    d = range(len(s0))
    models: list[int] = []
    for j, source in enumerate(stage.sources):
        if isinstance(source.labels, list):  # truth plus an independent shift: a model of its own
            name = 1000 * k + j
            shifted = [m + mp.mpf(q) for m, q in zip(moments[0, 0], source.labels, strict=True)]
            for u in {u for u, _ in moments}:
                moments[name, u] = moments[u, name] = list(moments[0, u])
            moments[name, name] = shifted
            models.append(name)
        else:
            models.append(source.labels)
    sources = stage.sources
    T = [mp.mpf(s.samples) for s in sources]
    N = sum(T)
    p = [t / N for t in T]
    omega = [mp.mpf(s.weight) for s in sources]
    sig = [[mp.mpf(v) for v in (s.sigma if s.sigma is not None else s0)] for s in sources]
    lam, m = mp.mpf(stage.penalty), None if stage.width is None else mp.mpf(stage.width)
    K = range(len(sources))

    def responses(g: list, kappa: mp.mpf) -> tuple[list, list]:
        a = [p[s] * omega[s] / (1 + omega[s] * g[s]) for s in K]
        return a, [1 / (sum(a[s] * sig[s][i] for s in K) + kappa) for i in d]

    def image(*x: mp.mpf) -> list:
        """Differences of the logarithms of both sides of the fixed-point equations."""
        g, kappa = [mp.exp(v) for v in x[: len(sources)]], mp.exp(x[-1]) if m is not None else lam
        _, Q = responses(g, kappa)
        out = [mp.log(sum(sig[s][i] * Q[i] for i in d) / N) - x[s] for s in K]
        if m is not None:
            out.append(mp.log(lam + kappa / m * (len(s0) - kappa * sum(Q))) - x[-1])
        return out

    x = [mp.log(sum(sig[s]) / N / lam) for s in K] + ([mp.log(lam + 1)] if m is not None else [])
    for _ in range(400):
        step = image(*x)
        x = [v + w for v, w in zip(x, step, strict=True)]
        if max(abs(w) for w in step) < mp.mpf(10) ** -45:
            break
    else:
        root = mp.findroot(lambda *v: image(*v) if len(v) > 1 else image(*v)[0], x if len(x) > 1 else x[0])
        x = list(root) if len(x) > 1 else [root]
    g, kappa = [mp.exp(v) for v in x[: len(sources)]], mp.exp(x[-1]) if m is not None else lam
    a, Q = responses(g, kappa)
    b = [p[s] * omega[s] ** 2 / (1 + omega[s] * g[s]) ** 2 for s in K]

    P = [
        sum(a[s] * a[t] * sig[s][i] * sig[t][i] * moments[models[s], models[t]][i] for s in K for t in K)
        for i in d
    ]
    size = len(sources) + (1 if m is not None else 0)
    A = mp.zeros(size)  # rows: the equations of h (and k); the moments need its transpose
    for s in K:
        for t in K:
            A[s, t] = (1 if s == t else 0) - sum(sig[s][i] * sig[t][i] * Q[i] ** 2 for i in d) / N * b[t]
    if m is not None:
        q1, q2 = sum(Q), sum(v**2 for v in Q)
        for s in K:
            A[s, size - 1] = -sum(sig[s][i] * Q[i] ** 2 for i in d) / N
            A[size - 1, s] = -(kappa**2) / m * sum(sig[s][i] * Q[i] ** 2 for i in d) * b[s]
        A[size - 1, size - 1] = 1 - (len(s0) - 2 * kappa * q1) / m - kappa**2 / m * q2
    beta = mp.zeros(size, 1)
    for u in K:
        own = moments[models[u], models[u]]
        beta[u] = (
            b[u] * sum(P[i] * Q[i] ** 2 * sig[u][i] for i in d)
            + b[u] * (sum(sig[u][i] * own[i] for i in d) + mp.mpf(sources[u].noise))
            - 2 * omega[u] / (1 + omega[u] * g[u])
            * sum(
                a[u] * sig[u][i] * Q[i] * sum(a[t] * sig[t][i] * moments[models[u], models[t]][i] for t in K)
                for i in d
            )
        )  # fmt: skip
    if m is not None:
        beta[size - 1] = sum(P[i] * Q[i] ** 2 for i in d)
    y = mp.lu_solve(A.T, beta)
    known = {u for u, _ in moments}
    for u in known:
        value = [sum(a[s] * sig[s][i] * Q[i] * moments[models[s], u][i] for s in K) for i in d]
        moments[k, u] = moments[u, k] = value
    extra = [sum(y[u] * sig[u][i] for u in K) / N for i in d]
    if m is not None:
        extra = [e + y[size - 1] * kappa**2 / m for e in extra]
    moments[k, k] = [Q[i] ** 2 * (P[i] + extra[i]) for i in d]
