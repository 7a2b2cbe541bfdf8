"""Any classifier of scikit-learn as a probe, by its name; the support vector machine of COMODO is in svm.py."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.probes.base import Scaling, check_support, probes, scaling_of
from imu_video.errors import ConfigError, nearest


class _Estimator:
    """A fitted scikit-learn classifier with its scaling."""

    def __init__(self, model: Any, centre: np.ndarray, factor: np.ndarray) -> None:
        self.model, self.centre, self.factor = model, centre, factor

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Decision values or probabilities. Shapes: (N, E) -> (N, M)."""
        z = (np.asarray(features, dtype=np.float64) - self.centre) * self.factor
        if hasattr(self.model, "decision_function"):
            values = np.asarray(self.model.decision_function(z))
            # With two classes scikit-learn returns one column, the score of the second class.
            return np.stack([-values, values], axis=1) if values.ndim == 1 else values
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(z))
        return np.eye(len(self.model.classes_))[self.model.predict(z)]


@probes.register("sklearn")
class EstimatorProbe:
    """A scikit-learn classifier by its class name.

    Args:
        estimator: a class that `sklearn.utils.all_estimators(type_filter="classifier")` lists: ``LinearSVC``,
            ``RandomForestClassifier``, ``GaussianNB`` ...
        arguments: keyword arguments of its constructor; ``random_state`` defaults to 0 if it has one.
        scaling: ``standard``, ``center`` or ``none``, fitted on the support.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> probe = EstimatorProbe(estimator="GaussianNB")
        >>> probe.fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(
        self, *, estimator: str = "LinearSVC", arguments: Mapping[str, Any] | None = None, scaling: Scaling = "standard"
    ) -> None:
        from sklearn.utils import all_estimators

        known = dict(all_estimators(type_filter="classifier"))
        if estimator not in known:
            raise ConfigError(f"sklearn has no classifier {estimator!r}{nearest(estimator, known)}")
        self.scaling = scaling
        arguments = dict(arguments or {})
        # The estimator is built once here, so that a wrong argument raises before any episode is evaluated.
        try:
            model = known[estimator](**arguments)
        except TypeError as error:
            raise ConfigError(f"sklearn {estimator}: {error}") from error
        if "random_state" in model.get_params(deep=False):
            arguments.setdefault("random_state", 0)
        self._build = lambda: known[estimator](**arguments)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> _Estimator:
        """Fit the estimator. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        centre, factor = scaling_of(x, self.scaling)
        # Some solvers depend on the order of rows. The order of a support has no meaning, so rows are sorted.
        order = np.lexsort((*x.T[::-1], y))
        return _Estimator(_quietly(self._build(), ((x - centre) * factor)[order], y[order]), centre, factor)


def _quietly(model: Any, z: np.ndarray, y: np.ndarray) -> Any:
    """Fit without convergence warnings: thousands of episodes would repeat them, and the accuracy shows the effect."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z, y)
