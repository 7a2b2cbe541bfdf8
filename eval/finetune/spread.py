"""Spreads a few labels over unlabelled windows of the same subjects along a nearest-neighbour graph; no queries."""

from __future__ import annotations

import numpy as np

from eval.finetune.config import SpreadConfig


def soft_labels(features: np.ndarray, labels: np.ndarray, config: SpreadConfig, *, classes: int) -> np.ndarray:
    """Soft labels (N, M) of all windows, as configured; the arguments are those of `spread_labels`."""
    soft = spread_labels(
        features,
        labels,
        classes=classes,
        neighbours=config.neighbours,
        alpha=config.alpha,
        temperature=config.temperature,
    )
    if config.rounds:
        soft = balanced_prototypes(features, soft, labels, rounds=config.rounds, temperature=config.sharpness)
    return soft


def spread_labels(
    features: np.ndarray, labels: np.ndarray, *, classes: int, neighbours: int = 8, alpha: float = 0.9,
    temperature: float = 0.1,
) -> np.ndarray:  # fmt: skip
    """Soft labels of all windows from the labels of some of them (Zhou et al. 2004, learning with local and global
    consistency), with classes of equal size.

    With s_ij the cosine of windows i and j, and N_i the K windows nearest to i:

        w_ij = exp((s_ij - 1) / t)  where j is in N_i or i is in N_j, else 0
        F    = (I - alpha D^-1/2 W D^-1/2)^-1 Y,    D_ii = sum_j w_ij

    Y contains the one-hot rows of the labelled windows. Each column of F is divided by its sum, so that a class whose
    label is in a dense region does not dominate the graph; this assumes that classes are about equally frequent. Then
    each row is divided by its sum. Labelled windows keep their label. A window that no label reaches gets equal
    probabilities.

    Args:
        features: (N, E); the norm of a row does not matter.
        labels: (N,) class indices, -1 where unlabelled; every class must occur.
        classes: M.
        neighbours: K, at least 1.
        alpha: fraction of a window's label that is taken from its neighbours, in [0, 1); with 0 unlabelled windows get
            equal probabilities.
        temperature: t, above 0.

    Shapes: -> (N, M) float64, rows sum to one.

    Raises:
        ValueError: wrong shapes or a class without a label.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> spread_labels(x, np.array([0, -1, 1, -1]), classes=2, neighbours=1).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(f"features must be (N, E) and labels (N,), got {x.shape} and {y.shape}")
    labelled = np.flatnonzero(y >= 0)
    if len(np.unique(y[labelled])) != classes or y.max(initial=-1) >= classes:
        raise ValueError(f"every class 0..{classes - 1} needs a label, got {np.unique(y[labelled]).tolist()}")
    n = len(x)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    # The sort is stable, so that ties give the same graph on every machine.
    near = np.argsort(-cosine, axis=1, kind="stable")[:, : min(neighbours, n - 1)]
    rows = np.arange(n)[:, None]
    weight = np.zeros((n, n))
    weight[rows, near] = np.exp((cosine[rows, near] - 1) / temperature)
    weight = np.maximum(weight, weight.T)  # an edge exists if either window is among the other's neighbours
    scale = 1.0 / np.sqrt(np.maximum(weight.sum(axis=1), 1e-300))
    initial = np.zeros((n, classes))
    initial[labelled, y[labelled]] = 1.0
    spread = np.linalg.solve(np.eye(n) - alpha * scale[:, None] * weight * scale[None], initial)
    spread = np.maximum(spread, 0.0) / np.maximum(spread.sum(axis=0), 1e-300)
    total = spread.sum(axis=1, keepdims=True)
    out = np.where(total > 1e-12, spread / np.maximum(total, 1e-300), 1.0 / classes)
    # The solution mixes a little of other labels into labelled windows; their labels are certain.
    out[labelled] = initial[labelled]
    return out


def balanced_prototypes(
    features: np.ndarray, soft: np.ndarray, labels: np.ndarray, *, rounds: int = 10, temperature: float = 0.05
) -> np.ndarray:
    """Sharpen soft labels: alternate class means and assignments, with an equal number of windows per class.

    With unit rows z_i and soft labels q, one round computes

        c_m  = u_m / |u_m|,   u_m = sum_i q_im z_i
        q_im = a_i b_m exp(z_i · c_m / t)   with sum_m q_im = 1 for every i and sum_i q_im = N / M for every m

    The factors a, b come from Sinkhorn's iteration (Cuturi 2013, arXiv 1306.0895; for self-labelling Asano et al. 2020,
    arXiv 1911.05371): 30 iterations, each normalising columns and then rows. Labelled windows keep their label.

    Args:
        features: (N, E); the norm of a row does not matter.
        soft: (N, M) initial soft labels, such as those of `spread_labels`.
        labels: (N,) class indices, -1 where unlabelled.
        rounds: number of rounds, at least 1.
        temperature: t, above 0.

    Shapes: -> (N, M) float64, rows sum to one.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> soft = np.array([[1.0, 0.0], [0.4, 0.6], [0.0, 1.0], [0.5, 0.5]])
        >>> balanced_prototypes(x, soft, np.array([0, -1, 1, -1])).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    x, labelled = np.asarray(features, dtype=np.float64), np.flatnonzero(np.asarray(labels) >= 0)
    q = np.array(soft, dtype=np.float64)
    truth = np.eye(q.shape[1])[np.asarray(labels)[labelled]]
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    share = len(q) / q.shape[1]
    for _ in range(rounds):
        means = q.T @ unit
        means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        logits = unit @ means.T / temperature
        q = np.exp(logits - logits.max(axis=1, keepdims=True))
        for _ in range(30):
            q = q / np.maximum(q.sum(axis=0) / share, 1e-300)
            q = q / q.sum(axis=1, keepdims=True)
        q[labelled] = truth
    return q


def side_by_side(*parts: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Concatenate feature blocks with equal weight: each is standardised and divided by the square root of its width.

    Args:
        parts: (N, E_i) blocks.
        reference: rows for mean and standard deviation, so that queries are not used; None = all rows.

    Shapes: -> (N, sum E_i).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4))
        >>> np.allclose((side_by_side(x, 100 * x) ** 2).sum(axis=1).mean(), 2.0)
        True
    """
    out = []
    for part in parts:
        x = np.asarray(part, dtype=np.float64)
        base = x if reference is None else x[reference]
        spread = base.std(axis=0)
        # A nearly constant feature would be amplified to noise of unit variance, so its spread is raised to a floor.
        spread = np.maximum(spread, max(1e-3 * float(spread.max(initial=0.0)), 1e-12))
        out.append((x - base.mean(axis=0)) / spread / np.sqrt(x.shape[1]))
    return np.concatenate(out, axis=1)
