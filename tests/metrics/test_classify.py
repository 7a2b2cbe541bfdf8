"""Classification figures against scikit-learn and explicit loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from imu_video.metrics.classify import METRICS, accuracy, balanced_accuracy, confusion_counts, macro_f1


def naive(counts: np.ndarray) -> dict[str, float]:
    m = len(counts)
    present = [c for c in range(m) if counts[c].sum()]
    recall = [counts[c, c] / counts[c].sum() for c in present]
    f1 = []
    for c in present:
        tp = counts[c, c]
        fp = sum(counts[r, c] for r in range(m) if r != c)
        fn = sum(counts[c, k] for k in range(m) if k != c)
        f1.append(2 * tp / (2 * tp + fp + fn))
    return {
        "accuracy": sum(counts[c, c] for c in range(m)) / counts.sum(),
        "balanced_accuracy": sum(recall) / len(recall),
        "macro_f1": sum(f1) / len(f1),
    }


def test_equals_scikit_learn_with_all_classes_present() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([np.arange(5), rng.integers(0, 5, 80)])
    predicted = rng.integers(0, 5, len(truth))
    c = confusion_counts(truth, predicted, classes=5)
    assert np.array_equal(c, reference.confusion_matrix(truth, predicted))
    assert float(accuracy(c)) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert float(balanced_accuracy(c)) == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert float(macro_f1(c)) == pytest.approx(reference.f1_score(truth, predicted, average="macro"))


def test_stacks_equal_loops_with_absent_classes() -> None:
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 4, size=(6, 3, 4, 4))
    stack[0, :, 2] = 0  # a class that nobody performed
    for name, metric in METRICS.items():
        got = metric(stack)
        assert got.shape == (6, 3)
        for index in np.ndindex(6, 3):
            assert got[index] == pytest.approx(naive(stack[index])[name])


def test_no_prediction_is_nan_not_zero() -> None:
    for metric in METRICS.values():
        assert np.isnan(metric(np.zeros((3, 3))))


def test_guessing_one_class_is_chance_when_balanced() -> None:
    truth = np.repeat([0, 1], [90, 10])
    c = confusion_counts(truth, np.zeros(100, dtype=int), classes=2)
    assert float(accuracy(c)) == pytest.approx(0.9)
    assert float(balanced_accuracy(c)) == pytest.approx(0.5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        confusion_counts(np.array([0, 2]), np.array([0, 1]), classes=2)
    with pytest.raises(ValueError, match=r"\(N,\)"):
        confusion_counts(np.array([0, 1]), np.array([0]), classes=2)
    with pytest.raises(ValueError, match="M, M"):
        accuracy(np.ones((2, 3)))
