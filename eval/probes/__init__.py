"""Classifiers on frozen features, fitted on a few labelled windows; importing this registers the built-in ones."""

from __future__ import annotations

from eval.probes.base import Fitted, LinearScores, Probe, predict_many, probes
from eval.probes.estimators import EstimatorProbe, SvmProbe
from eval.probes.logreg import LogregProbe
from eval.probes.many import LinearProbe, fit_supports
from eval.probes.neighbours import NeighbourProbe
from eval.probes.prototype import PrototypeProbe
from eval.probes.ridge import RidgeProbe

__all__ = [
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
    "fit_supports",
    "predict_many",
    "probes",
]
