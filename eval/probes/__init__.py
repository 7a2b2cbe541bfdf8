"""Classifiers on frozen features, fitted on a few labelled windows; importing this registers the built-in ones."""

from __future__ import annotations

from eval.probes.base import Fitted, LinearScores, Probe, predict_many, probes
from eval.probes.logreg import LogregProbe
from eval.probes.prototype import PrototypeProbe
from eval.probes.ridge import RidgeProbe

__all__ = ["Fitted", "LinearScores", "LogregProbe", "Probe", "PrototypeProbe", "RidgeProbe", "predict_many", "probes"]
