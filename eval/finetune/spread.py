"""Spreads a few labels over unlabelled windows of the same people along a graph of neighbours; no queries here."""

from __future__ import annotations

import numpy as np

from eval.finetune.config import SpreadConfig


def soft_labels(features: np.ndarray, labels: np.ndarray, config: SpreadConfig, *, classes: int) -> np.ndarray:
    """Soft labels (N, M) of all windows as configured; arguments as in `spread_labels`."""
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

    Y holds the one-hot rows of the labelled windows. Each column of F is divided by its sum, so that no class floods
    the graph because its label sits in a dense place (classes are taken to be about equally frequent); then each row by
    its sum. Labelled windows keep their label. A window that no label reaches gets equal shares.

    Args:
        features: (N, E), any scale of rows.
        labels: (N,) class numbers, -1 where unlabelled; every class must occur.
        classes: M.
        neighbours: K, at least 1.
        alpha: share of a window's label that comes from its neighbours, in [0, 1); 0 leaves unlabelled windows at equal
            shares.
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
    known = np.flatnonzero(y >= 0)
    if len(np.unique(y[known])) != classes or y.max(initial=-1) >= classes:
        raise ValueError(f"every class 0..{classes - 1} needs a label, got {np.unique(y[known]).tolist()}")
    n = len(x)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, : min(neighbours, n - 1)]
    rows = np.arange(n)[:, None]
    weight = np.zeros((n, n))
    weight[rows, near] = np.exp((cosine[rows, near] - 1) / temperature)
    weight = np.maximum(weight, weight.T)
    scale = 1.0 / np.sqrt(np.maximum(weight.sum(axis=1), 1e-300))
    start = np.zeros((n, classes))
    start[known, y[known]] = 1.0
    flow = np.linalg.solve(np.eye(n) - alpha * scale[:, None] * weight * scale[None], start)
    flow = np.maximum(flow, 0.0) / np.maximum(flow.sum(axis=0), 1e-300)
    total = flow.sum(axis=1, keepdims=True)
    out = np.where(total > 1e-12, flow / np.maximum(total, 1e-300), 1.0 / classes)
    out[known] = start[known]
    return out


def balanced_prototypes(
    features: np.ndarray, soft: np.ndarray, labels: np.ndarray, *, rounds: int = 10, temperature: float = 0.05
) -> np.ndarray:
    """Sharpens soft labels: class means and assignments in turn, where every class gets an equal share of the windows.

    With unit rows z_i and soft labels q, a round is

        c_m  = u_m / |u_m|,   u_m = sum_i q_im z_i
        q_im = a_i b_m exp(z_i · c_m / t)   with sum_m q_im = 1 for every i and sum_i q_im = N / M for every m

    The factors a, b come from Sinkhorn's iteration (Cuturi 2013, arXiv 1306.0895; for self-labelling Asano et al. 2020,
    arXiv 1911.05371), 30 times, rows last. Labelled windows keep their label.

    Args:
        features: (N, E), any scale of rows.
        soft: (N, M) soft labels to start from, such as those of `spread_labels`.
        labels: (N,) class numbers, -1 where unlabelled.
        rounds: 1 or more.
        temperature: t, above 0.

    Shapes: -> (N, M) float64, rows sum to one.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> soft = np.array([[1.0, 0.0], [0.4, 0.6], [0.0, 1.0], [0.5, 0.5]])
        >>> balanced_prototypes(x, soft, np.array([0, -1, 1, -1])).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    x, known = np.asarray(features, dtype=np.float64), np.flatnonzero(np.asarray(labels) >= 0)
    q = np.array(soft, dtype=np.float64)
    truth = np.eye(q.shape[1])[np.asarray(labels)[known]]
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
        q[known] = truth
    return q


def side_by_side(*parts: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Feature blocks brought to the same weight and joined: each standardised and divided by the root of its width.

    Args:
        parts: (N, E_i) blocks.
        reference: rows whose mean and deviation are used, so that queries play no part; None: all rows.

    Shapes: -> (N, sum E_i).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4))
        >>> np.allclose((side_by_side(x, 100 * x) ** 2).sum(axis=1).mean(), 2.0)
        True
    """
    out = []
    for part in parts:
        x = np.asarray(part, dtype=np.float64)
        seen = x if reference is None else x[reference]
        spread = seen.std(axis=0)
        spread = np.maximum(spread, max(1e-3 * float(spread.max(initial=0.0)), 1e-12))
        out.append((x - seen.mean(axis=0)) / spread / np.sqrt(x.shape[1]))
    return np.concatenate(out, axis=1)
