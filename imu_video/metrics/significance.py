"""Paired tests over subjects, correction for multiple tests, minimum detectable difference; no intervals."""

from __future__ import annotations

import math

import numpy as np


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p value of the Wilcoxon signed-rank test that paired differences are centred on zero.

    Exact for few subjects (all sign patterns, by SciPy). With five subjects p cannot be smaller than 0.0625.

    Args:
        differences: one value per subject; NaN are ignored.

    Shapes: (S,) -> float in (0, 1]; 1 for fewer than two subjects or if all differences are zero.

    Example:
        >>> signed_rank_p(np.array([0.1, 0.2, 0.15, 0.3, 0.12, 0.22]))
        0.03125
    """
    from scipy.stats import wilcoxon

    d = np.asarray(differences, dtype=np.float64)
    d = d[np.isfinite(d)]
    if len(d) < 2 or not np.any(d):
        return 1.0
    return float(wilcoxon(d, zero_method="wilcox").pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values for multiple tests (Holm 1979).

    Sorted ascending, p_(i) becomes max over j <= i of (m - j + 1) p_(j), at most 1.

    Shapes: (m,) -> (m,).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    out = np.empty_like(values)
    out[order] = stepped
    return out


def minimum_detectable(differences: np.ndarray, *, level: float = 0.95, power: float = 0.8) -> float:
    """Minimum detectable difference: the smallest true mean difference that a paired t test would have found.

    (t_{(1 + level) / 2} + t_{power}) s / sqrt(S), with s the standard deviation of the differences over S subjects and
    both quantiles of t with S - 1 degrees of freedom. A comparison that is not significant gives no information about
    smaller differences.

    Args:
        differences: one value per subject; NaN are ignored.
        level: 1 - level is the error rate of the test.
        power: probability of detecting the difference.

    Returns:
        The difference, infinite for fewer than two subjects.

    Example:
        >>> round(minimum_detectable(np.array([0.0, 0.1, 0.2, 0.1])), 3)
        0.17
    """
    from scipy.special import stdtrit

    d = np.asarray(differences, dtype=np.float64)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return math.inf
    t = float(stdtrit(len(d) - 1, (1 + level) / 2)) + float(stdtrit(len(d) - 1, power))
    return t * float(d.std(ddof=1)) / math.sqrt(len(d))
