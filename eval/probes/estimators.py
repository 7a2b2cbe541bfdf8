"""Probes from scikit-learn: any classifier by name, and the support vector machine of COMODO's evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from eval.probes.base import Scaling, Strengths, check_support, probes, scaling_of, unit_rows
from imu_video.errors import ConfigError, nearest

STRENGTHS = tuple(float(10.0**e) for e in range(-4, 5))


class _Estimator:
    """A fitted scikit-learn classifier with its scaling; ``alive`` columns are brought to unit norm first."""

    def __init__(self, model: Any, centre: np.ndarray, factor: np.ndarray, alive: np.ndarray | None = None) -> None:
        self.model, self.centre, self.factor, self.alive = model, centre, factor, alive

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Decision values or probabilities. Shapes: (N, E) -> (N, M)."""
        x = np.asarray(features, dtype=np.float64)
        z = ((x if self.alive is None else unit_rows(x * self.alive)) - self.centre) * self.factor
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


@probes.register("svm_rbf")
class SvmProbe:
    """RBF support vector machine as in the evaluation of COMODO (Chen et al. 2025, arXiv 2503.07259).

    Rows are scaled to unit norm, then columns are standardised, then an SVC is fitted. Its C is selected by stratified
    cross-validation on the support, with as many folds as the rarest class has windows, at most 5. If some class has a
    single window, the middle candidate is used.

    Args:
        strengths: candidates for C, each above 0.
        most: largest number of support windows, at least 2; a larger support is thinned evenly. 10,000 as published.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 2.0]])
        >>> SvmProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(self, *, strengths: Strengths = STRENGTHS, most: Annotated[int, Field(ge=2)] = 10_000) -> None:
        self.strengths, self.most = tuple(sorted(strengths)), most

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> _Estimator:
        """Fit the support vector machine. Shapes: features (n, E), labels (n,)."""
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.svm import SVC

        x, y = check_support(features, labels, classes)
        # A column that is constant in the support may vary in queries, where it must not influence the norm.
        alive = scaling_of(x, "standard")[1] > 0
        x = unit_rows(x * alive)
        order = np.lexsort((*x.T[::-1], y))
        if len(order) > self.most:
            order = order[np.linspace(0, len(order) - 1, self.most).round().astype(int)]
        x, y = x[order], y[order]
        centre, factor = scaling_of(x, "standard")
        z = (x - centre) * factor
        folds = int(min(5, np.bincount(y, minlength=classes).min()))
        middle = self.strengths[len(self.strengths) // 2]
        if folds < 2 or len(self.strengths) == 1:
            return _Estimator(SVC(C=middle).fit(z, y), centre, factor, alive)
        search = GridSearchCV(SVC(), {"C": list(self.strengths)}, cv=StratifiedKFold(folds))
        return _Estimator(search.fit(z, y).best_estimator_, centre, factor, alive)


def _quietly(model: Any, z: np.ndarray, y: np.ndarray) -> Any:
    """Fit without convergence warnings: thousands of episodes would repeat them, and the accuracy shows the effect."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z, y)
