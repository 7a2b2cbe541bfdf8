"""Config of the evaluation of frozen representations; YAML files: configs/eval/representation. Nothing is run here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eval.config import FeatureReferences, Metric, Probes
from eval.data.splits import Slice
from eval.results.intervals import Intervals
from imu_video.arguments import Count, Seed


class RepresentationConfig(Probes):
    """A probe per model, fitted on the labelled training windows and evaluated on the test windows.

    Args:
        name: name of the domain in tables.
        split: what training and test windows must not share: ``subject`` (no subject and no recording), or
            ``recording`` (subjects may be in both, as where published splits are lists of videos).
        train: slice of the training windows.
        test: slice of the test windows.
        draw: with ``split: recording``: the windows of both slices are pooled, and this share of the recordings of each
            class is drawn for the test; null uses the slices as they are.
        seed: of the draw.
        classes: labels to distinguish; null = every label of the training windows.
        pretraining_subjects: test subjects who were in the encoder's pretraining are refused (``refuse``), or stated
            with every figure (``state``): published splits by recording have them.
        probes: entries of the probe registry.
        ks: k of accuracy at k; a k that is not smaller than the number of classes is left out.
        metrics: further figures to report.
        references: models to compare with.
        intervals: confidence intervals and tests.
    """

    name: str = "test"
    split: Literal["subject", "recording"] = "subject"
    train: Slice = Slice(split="train")
    test: Slice = Slice(split="test")
    draw: float | None = Field(default=None, gt=0, lt=1)
    seed: Seed = 0
    classes: list[str] | None = Field(default=None, min_length=2)
    pretraining_subjects: Literal["refuse", "state"] = "refuse"
    probes: list[str | dict[str, Any]] = Field(default=["svm_rbf", "logreg"], min_length=1)
    ks: list[Count] = Field(default=[1, 3, 5], min_length=1)
    metrics: list[Metric] = Field(default=["balanced_accuracy", "macro_f1"])
    references: FeatureReferences = FeatureReferences()
    intervals: Intervals = Intervals()

    @model_validator(mode="after")
    def _consistent(self) -> RepresentationConfig:
        if self.draw is not None and self.split != "recording":
            raise ValueError(f"draw: {self.draw:g} divides recordings and requires split: recording, got {self.split}")
        if len(set(self.ks)) != len(self.ks):
            raise ValueError(f"ks must be distinct, got {self.ks}")
        return self
