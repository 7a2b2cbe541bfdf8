"""Classifiers on frozen features, fitted on a few labelled windows; importing this registers the built-in ones."""

from __future__ import annotations

from eval.probes.base import (
    Confidence,
    Fitted,
    LinearScores,
    Probe,
    confidence_of,
    first_largest,
    predict_many,
    probes,
    score_blocks,
)
from eval.probes.estimators import EstimatorProbe
from eval.probes.logreg import LogregProbe
from eval.probes.many import LinearProbe, fit_supports
from eval.probes.neighbours import NeighbourProbe
from eval.probes.prototype import PrototypeProbe
from eval.probes.ridge import RidgeProbe
from eval.probes.svm import SvmProbe

__all__ = [
    "Confidence",
    "EstimatorProbe",
    "Fitted",
    "LinearProbe",
    "LinearScores",
    "LogregProbe",
    "NeighbourProbe",
    "Probe",
    "PrototypeProbe",
    "RidgeProbe",
    "SvmProbe",
    "confidence_of",
    "first_largest",
    "fit_supports",
    "predict_many",
    "probes",
    "score_blocks",
]


def __dir__() -> list[str]:
    """The public names, as `dir` and tab completion list them."""
    return sorted(__all__)
