"""Contract checks for a probe of one's own (`check_probe`); library components have theirs in imu_video.testing."""

from __future__ import annotations

import numpy as np

from eval.probes.base import Fitted, Probe


def check_probe(probe: Probe, *, features: int = 24, classes: int = 4, shots: int = 5) -> None:
    """Run the contract that every probe fulfils; raises AssertionError naming what is broken.

    A probe is deterministic, leaves its inputs alone, gives finite scores (N, M), separates what is separable, treats
    the classes alike (permuting the numbers permutes the scores), scores each window on its own, and works with one
    shot and with dimensions that are constant in the support.

    Args:
        probe: the probe under test.
        features: E of the made-up features, at least 4.
        classes: M, at least 3.
        shots: S, at least 2.

    Example:
        >>> from eval.probes import PrototypeProbe
        >>> check_probe(PrototypeProbe())
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, features)) * 3
    labels = np.repeat(np.arange(classes), shots)
    support = (centres[labels] + rng.normal(size=(len(labels), features)) * 0.3).astype(np.float32)
    truth = np.tile(np.arange(classes), 25)
    query = (centres[truth] + rng.normal(size=(len(truth), features)) * 0.3).astype(np.float32)

    before = support.copy(), labels.copy(), query.copy()
    scores = _scores(probe.fit(support, labels, classes=classes), query, classes)
    for old, new in zip(before, (support, labels, query), strict=True):
        assert np.array_equal(np.asarray(old), np.asarray(new)), "the probe changed its inputs"
    assert (scores.argmax(axis=1) == truth).mean() > 0.99, "classes ten deviations apart are not told apart"
    again = _scores(probe.fit(support, labels, classes=classes), query, classes)
    assert np.array_equal(scores, again), "the same support gives another probe: take no global random state"

    shuffled = rng.permutation(len(labels))
    reordered = _scores(probe.fit(support[shuffled], labels[shuffled], classes=classes), query, classes)
    assert np.allclose(scores, reordered, atol=1e-3), "the order of the support changes the scores"
    renamed = np.roll(np.arange(classes), 1)
    permuted = _scores(probe.fit(support, renamed[labels], classes=classes), query, classes)
    assert np.allclose(scores, permuted[:, renamed], atol=1e-3), "renumbering the classes changes the scores"

    fitted = probe.fit(support, labels, classes=classes)
    alone = np.concatenate([_scores(fitted, row[None], classes) for row in query[:10]])
    assert np.allclose(alone, scores[:10], atol=1e-3), "a window's score depends on the other windows"

    one = np.arange(0, len(labels), shots)
    single = _scores(probe.fit(support[one], labels[one], classes=classes), query, classes)
    assert (single.argmax(axis=1) == truth).mean() > 0.9, "one shot of well separated classes fails"

    constant = support.copy()
    constant[:, :2] = 7.0
    drifting = query.copy()
    drifting[:, :2] = 1e3
    kept = _scores(probe.fit(constant, labels, classes=classes), drifting, classes)
    assert (kept.argmax(axis=1) == truth).mean() > 0.9, "a dimension that is constant in the support decides"


def _scores(fitted: Fitted, query: np.ndarray, classes: int) -> np.ndarray:
    assert isinstance(fitted, Fitted), "fit must return an object with scores(features)"
    scores = np.asarray(fitted.scores(query))
    assert scores.shape == (len(query), classes), f"scores have shape {scores.shape}, expected {(len(query), classes)}"
    assert np.isfinite(scores).all(), "scores are not finite"
    return scores
