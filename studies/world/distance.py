"""Maximum mean discrepancy between two groups of subjects, with an interval over subjects; computes no features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernels:
    """Means of a kernel over the windows of two subjects each.

    Args:
        real: (n, n) between real subjects.
        simulated: (m, m) between simulated subjects.
        cross: (n, m) between both.
    """

    real: np.ndarray
    simulated: np.ndarray
    cross: np.ndarray


def bandwidth(pooled: np.ndarray, *, seed: int = 0, most: int = 800) -> float:
    """Median distance of two windows: the scale of the kernel (Gretton et al. 2012, section 8).

    Args:
        pooled: (N, D) standardised statistics of every group that will be compared.
        seed: of the subsample.
        most: windows of which the median is taken.
    """
    rng = np.random.default_rng(seed)
    some = pooled if len(pooled) <= most else pooled[rng.choice(len(pooled), most, replace=False)]
    squared = _squared(some, some)[np.triu_indices(len(some), 1)]
    return float(np.sqrt(np.median(squared)))


def kernels(real: Mapping[str, np.ndarray], simulated: Mapping[str, np.ndarray], scale: float) -> Kernels:
    """Mean Gaussian kernels ``exp(-d^2 / (2 scale^2))`` between subjects.

    Args:
        real: subject -> (N, D).
        simulated: subject -> (N, D).
        scale: of the kernel.
    """

    def mean(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.array([[np.exp(-_squared(x, y) / (2 * scale**2)).mean() for y in b.values()] for x in a.values()])

    return Kernels(real=mean(real, real), simulated=mean(simulated, simulated), cross=mean(real, simulated))


def mmd2(kernel: Kernels, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> float:
    """Unbiased squared discrepancy with subjects as units: Gretton et al. (2012), equation 3, on means per subject.

    Pairs of a subject with itself are left out, also where a resample holds it twice. The estimate may be negative.

    Args:
        kernel: means of the kernel.
        rows: real subjects, each once when None.
        columns: simulated subjects, each once when None.

    Example:
        >>> near = {"a": np.zeros((2, 1)), "b": np.ones((2, 1))}
        >>> round(mmd2(kernels(near, {"c": np.zeros((3, 1)), "d": np.ones((3, 1))}, 1.0)), 3)
        -0.393
    """
    rows = np.arange(len(kernel.real)) if rows is None else rows
    columns = np.arange(len(kernel.simulated)) if columns is None else columns
    within = []
    for own, chosen in ((kernel.real, rows), (kernel.simulated, columns)):
        other = chosen[:, None] != chosen[None, :]
        within.append(own[np.ix_(chosen, chosen)][other].mean())
    return float(within[0] + within[1] - 2 * kernel.cross[np.ix_(rows, columns)].mean())


def intervals(
    arms: Mapping[str, Kernels], *, against: str, draws: int = 1000, seed: int = 0
) -> dict[str, dict[str, list[float]]]:
    """Discrepancy of each arm and its difference to one of them, with percentile intervals over subjects.

    Real and simulated subjects are drawn with replacement, the same ones for every arm, which have the same subjects.

    Returns:
        Arm -> ``mmd2`` and ``difference``: [estimate, low, high] of 95 %.
    """
    rng = np.random.default_rng(seed)
    one = arms[against]
    values: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(draws):
        rows = rng.integers(len(one.real), size=len(one.real))
        columns = rng.integers(len(one.simulated), size=len(one.simulated))
        if len(set(rows.tolist())) < 2 or len(set(columns.tolist())) < 2:
            continue
        for name, kernel in arms.items():
            values[name].append(mmd2(kernel, rows, columns))
    first = np.array(values[against])
    out: dict[str, dict[str, list[float]]] = {}
    for name, kernel in arms.items():
        drawn = np.array(values[name])
        out[name] = {
            "mmd2": [mmd2(kernel), *np.percentile(drawn, [2.5, 97.5]).tolist()],
            "difference": [mmd2(kernel) - mmd2(one), *np.percentile(drawn - first, [2.5, 97.5]).tolist()],
        }
    return out


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) squared Euclidean distances."""
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0.0))
