"""Variance of a mean over random factors, by deleting one level at a time; intervals follow in inference.py.

A figure is measured in cells: pretraining seed p of the encoder, seed r of the model, episode e (a support set, a
gallery), query subject s. All are samples of what one wants to generalise to, and they are crossed: every subject is a
query of every seed. Folds are the exception: a subject is a query of one fold, and subjects are nested in folds. The
variance of the mean is the sum of one part per factor. The interaction of a factor with subjects is contained in the
part of the subjects and subtracted from that of the other factor; other interactions are contained in the parts of both
factors, so that the sum is at most too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SUBJECT, SUPPORT, EPISODE, SEED = "subject", "support subject", "episode", "seed"
PRETRAINING, FOLD = "pretraining seed", "fold"
REFERENCE_SEED = "pretraining seed of the reference"
"""Factor of a difference between two recipes, named by those who cross the seeds of both."""
_AXES = (PRETRAINING, SEED, EPISODE)


@dataclass(frozen=True)
class Part:
    """Contribution of one factor to the variance of a mean.

    Args:
        factor: ``subject``, ``support subject``, ``fold``, ``episode``, ``seed`` or ``pretraining seed``.
        levels: number of levels behind it, at least 2.
        gross: variance of the mean over the levels, >= 0.
        noise: share of ``gross`` that the part of the subjects contains already, >= 0.
        noise_freedom: degrees of freedom of ``noise``.

    Example:
        >>> part = Part("seed", 3, 0.5, noise=0.1, noise_freedom=14)
        >>> part.variance, part.freedom
        (0.4, 2)
    """

    factor: str
    levels: int
    gross: float
    noise: float = 0.0
    noise_freedom: int = 1

    @property
    def variance(self) -> float:
        """Variance of the mean that is due to the factor: ``gross`` less ``noise``, at least 0."""
        return max(0.0, self.gross - self.noise)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of ``gross``: one less than the number of levels."""
        return self.levels - 1


def mean_of_means(cells: np.ndarray) -> float:
    """Mean over subjects of the mean over each subject's cells. Shapes: (..., E, S), NaN where no cell exists."""
    return float(_subject_means(_four(cells)).mean())


def variance_parts(
    cells: np.ndarray, support: np.ndarray | None = None, *, folds: Sequence[str] | None = None
) -> tuple[Part, ...]:
    """Contribution of every factor with two levels or more to the variance of `mean_of_means`.

    Subjects: delete-one jackknife. Without ``support`` it equals the sample variance of the subject means over S. With
    it, a subject is deleted as query and with every episode whose support contains it, because an unusual subject
    shifts all episodes that it supports:

        V = (n - 1) / n sum_s (theta_(-s) - mean_s theta_(-s))^2  -  (n - 1) / n sum_s s_e^2 (1 / E_(-s) - 1 / E)

    The second term is the noise of using E_(-s) of E episodes, with s_e^2 the variance between episodes; V is at least
    the part of the queries alone. (Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981.)

    Episodes and seeds: sample variance of their effects over their number, less the mean square of their interaction
    with subjects over the number of cells, which the part of the subjects contains. An effect is the mean deviation of
    its cells from the subject means, so that different subjects per episode do not count as a difference of episodes.

    Folds: nested analysis of variance. With K folds of n_f subjects, mean squares MS_F between and MS_W within folds
    and n_0 = (S - sum n_f^2 / S) / (K - 1),

        V_fold = (1 + K / (K - 1)) max(0, MS_F - MS_W) / n_0 sum_f n_f^2 / S^2

    The factor 1 + K / (K - 1) is the correction of Nadeau and Bengio ("Inference for the generalization error", Machine
    Learning 2003) for training sets that overlap: 1 / K becomes 1 / K + 1 / (K - 1). No estimate is unbiased for all
    distributions (Bengio and Grandvalet, JMLR 2004). Seeds that test one fold each are not a factor beside folds.

    Args:
        cells: values; NaN = the subject is not a query of that episode and seed.
        support: which subjects provide support in which episode: first the S query subjects in the order of
            ``cells``, then subjects that are never a query, which form a factor of their own.
        folds: the fold that each subject is tested in; None where all subjects have the same training data. Folds
            need two subjects in one of them: with one subject per fold, folds and subjects are the same factor.

    Shapes:
        cells (R, E, S) or (P, R, E, S), support (E, S + X) bool, folds (S,).

    Raises:
        ValueError: other shapes, or no finite cell.

    Example:
        >>> cells = np.random.default_rng(0).normal(size=(3, 4, 8))
        >>> [part.factor for part in variance_parts(cells)]
        ['subject', 'episode', 'seed']
    """
    v = _four(cells)
    if support is not None and (support.ndim != 2 or len(support) != v.shape[2] or support.shape[1] < v.shape[3]):
        raise ValueError(f"support must be (E, S + X) with (E, S) = {v.shape[2:]}, got shape {support.shape}")
    if folds is not None and len(folds) != v.shape[3]:
        raise ValueError(f"folds must name the fold of each of {v.shape[3]} subjects, got {len(folds)}")
    exists = np.isfinite(v)
    asked = exists.any(axis=(0, 1, 2))
    if not asked.any():
        raise ValueError("cells contain no finite value")
    subjects, means = int(asked.sum()), _subject_means(v)
    queries = Part(SUBJECT, subjects, float(means.var(ddof=1)) / subjects if subjects > 1 else 0.0)
    found = {axis: part for axis in _AXES if (part := _crossed(v, axis)) is not None}
    parts = [queries]
    if folds is not None and subjects > 1:
        label = np.asarray(folds)[asked]
        parts += _nested(means, label)
        if _one_fold_each(exists[..., asked], label):
            found.pop(SEED, None)
    elif support is not None and EPISODE in found:
        effects = _effects(v, axis=2)
        parts = _with_support(v, np.asarray(support, dtype=bool), float(effects.var(ddof=1)), queries.gross)
    # Seeds of the model before those of the encoder, as the axes of a result line are read: from the inside out.
    parts += [found[axis] for axis in reversed(_AXES) if axis in found]
    return tuple(part for part in parts if part.levels > 1)


def _four(cells: np.ndarray) -> np.ndarray:
    """Cells with every axis. Shapes: (R, E, S) or (P, R, E, S) -> (P, R, E, S)."""
    v = np.asarray(cells, dtype=np.float64)
    if v.ndim not in (3, 4):
        raise ValueError(
            f"cells must be (R, E, S) or (P, R, E, S): seeds, episodes, subjects (P: pretraining seeds), got {v.shape}"
        )
    return v if v.ndim == 4 else v[None]


def _subject_means(v: np.ndarray) -> np.ndarray:
    """Mean of each subject with a cell over its cells. Shapes: (P, R, E, S) -> (at most S,)."""
    exists = np.isfinite(v)
    count = exists.sum(axis=(0, 1, 2))
    return np.asarray(np.where(exists, v, 0.0).sum(axis=(0, 1, 2))[count > 0] / count[count > 0])


def _by_level(v: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the deviations from the subject means, by level of an axis and subject. Shapes: two (n, S)."""
    exists = np.isfinite(v)
    count = exists.sum(axis=(0, 1, 2))
    mean = np.where(exists, v, 0.0).sum(axis=(0, 1, 2)) / np.maximum(count, 1)
    other = tuple(i for i in range(3) if i != axis)
    return np.where(exists, v - mean, 0.0).sum(axis=other), exists.sum(axis=other)


def _effects(v: np.ndarray, *, axis: int) -> np.ndarray:
    """Mean deviation from the subject means in each level of an axis with a cell. Shapes: (P, R, E, S) -> (levels,)."""
    total, number = (x.sum(axis=1) for x in _by_level(v, axis))
    return np.asarray(total[number > 0] / number[number > 0])


def _crossed(v: np.ndarray, factor: str) -> Part | None:
    """Part of a factor that is crossed with subjects; None with one level."""
    axis = _AXES.index(factor)
    effects = _effects(v, axis=axis)
    levels = len(effects)
    if levels < 2:
        return None
    total, number = _by_level(v, axis)
    cells = np.divide(total, number, out=np.zeros_like(total), where=number > 0)[number.any(axis=1)]
    there = (number > 0)[number.any(axis=1)]
    freedom = int(there.sum()) - levels - int(there.any(axis=0).sum()) + 1
    noise = 0.0
    if freedom > 0:
        square = float((np.where(there, cells - effects[:, None], 0.0) ** 2).sum()) / freedom
        noise = square * float((1 / there.sum(axis=1)).mean()) / levels
    return Part(factor, levels, float(effects.var(ddof=1)) / levels, noise=noise, noise_freedom=max(1, freedom))


def _nested(means: np.ndarray, label: np.ndarray) -> list[Part]:
    """Part of the folds from the subject means; empty where subjects and folds cannot be separated."""
    names, number = np.unique(label, return_inverse=True)
    size = np.bincount(number)
    subjects, folds = len(means), len(names)
    if folds < 2 or subjects - folds < 1:
        return []
    centre = np.bincount(number, weights=means) / size
    within = float(((means - centre[number]) ** 2).sum()) / (subjects - folds)
    between = float((size * (centre - means.mean()) ** 2).sum()) / (folds - 1)
    # Folds that differ no more than subjects do are pooled with them: their variance costs no degrees of freedom.
    if between <= within:
        return [Part(FOLD, folds, 0.0)]
    squares = float((size**2).sum())
    scale = (1 + folds / (folds - 1)) * squares / subjects**2 * (folds - 1) / (subjects - squares / subjects)
    return [Part(FOLD, folds, between * scale, noise=within * scale, noise_freedom=subjects - folds)]


def _one_fold_each(exists: np.ndarray, label: np.ndarray) -> bool:
    """Whether every seed tests subjects of a single fold. Shapes: exists (P, R, E, S), label (S,)."""
    return all(len(np.unique(label[row])) < 2 for row in np.asarray(exists.any(axis=(0, 2))))


def _with_support(v: np.ndarray, support: np.ndarray, spread: float, queries: float) -> list[Part]:
    """Parts of the subjects, and of subjects that only provide support, when supports are deleted with them."""
    exists = np.isfinite(v)
    total = np.where(exists, v, 0.0).sum(axis=(0, 1))  # (E, S)
    number = exists.sum(axis=(0, 1)).astype(np.float64)
    used = number.any(axis=1)
    total, number, support = total[used], number[used], support[used]
    asked = number.any(axis=0)
    kept = (~support).T.astype(np.float64)  # (S + X, E): episodes without that subject's support
    sums, counts = kept @ total, kept @ number
    own = np.eye(len(kept), v.shape[3], dtype=bool)
    there = (counts > 0) & ~own
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=there)
    usable = there.any(axis=1)
    theta = np.divide(means.sum(axis=1), there.sum(axis=1), out=np.zeros(len(kept)), where=usable)
    left = kept.sum(axis=1)
    out: list[Part] = []
    queried = np.concatenate([asked, np.zeros(len(kept) - len(asked), dtype=bool)])
    supporting = support.any(axis=0) & ~queried
    for factor, rows, least in ((SUBJECT, queried, queries), (SUPPORT, supporting, 0.0)):
        n = int(rows.sum())
        # A subject that supports every episode cannot be deleted: it is part of what was measured, not a sample.
        if n > 1 and usable[rows].all():
            deleted = theta[rows]
            noise = spread * (1 / left[rows] - 1 / len(support)).sum()
            found = (n - 1) / n * (float(((deleted - deleted.mean()) ** 2).sum()) - float(noise))
            out.append(Part(factor, n, max(found, least)))
        elif factor == SUBJECT:
            out.append(Part(factor, n, least))
    return out
