"""Result lines: one JSON object per measurement, with everything needed to repeat it; nothing is computed here."""

from __future__ import annotations

import datetime
import math
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from eval.registry import protocols
from imu_video import __version__
from imu_video.config import Config, digest
from imu_video.errors import nearest
from imu_video.metrics.inference import Estimate
from imu_video.runtime.references import command_line

CALIBRATION = ("ece", "overconfidence")
"""Metrics that describe stated confidence rather than correct predictions; they have tables of their own."""
DIFFERENCE = "-difference"
"""Suffix of the kind of paired differences."""


def is_registered(kind: str) -> bool:
    """Whether a kind of lines belongs to a registered protocol."""
    return kind.removesuffix(DIFFERENCE) in protocols.names()


class Result(Config):
    """One measurement.

    Args:
        kind: name of a registered protocol, or that name with ``-difference``: ``model`` minus ``reference`` on the
            same episodes or seeds.
        metric: name of the figure, a fraction in [0, 1] (differences and ``overconfidence`` in [-1, 1]).
        value: mean over subjects of the mean over episodes.
        low, high: ends of the interval; None without an interval (one subject).
        level: nominal coverage of the interval.
        model, reference, probe, domain, setting, shots: what was measured; None in ``shots`` where all labels are used.
        subjects, episodes: number of subjects and of episodes (seeds, galleries) behind the figure.
        chance: expected figure of a random guess.
        details: classes, gallery size, remarks ...; ``inference``: standard error, share and levels of every
            factor of the variance, remarks; for differences also ``p_holm``, ``simultaneous``, ``comparisons`` and
            ``minimum_detectable`` (see `eval.results.intervals.with_tests`).
        seeds: every seed that enters the figure.
        encoder: name, weights digest and run id; ``pretraining`` where several encoders differ in the pretraining seed.
        data: dataset and digest of its shards.
        config_digest: digest of the resolved evaluation config.
        cells: ``FILE.npz::KEY`` of the counts behind the figure, relative to the result file; or None.
        versions, command, time: of the measurement.
    """

    kind: str
    metric: str
    value: float = Field(allow_inf_nan=False)
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    level: float = 0.95
    model: str
    reference: str | None = None
    probe: str | None = None
    domain: str
    setting: str | None = None
    shots: int | None = None
    subjects: int
    episodes: int
    chance: float | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, Any] = Field(default_factory=dict)
    encoder: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    config_digest: str = ""
    cells: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    command: str = ""
    time: str = ""

    @field_validator("kind")
    @classmethod
    def _registered(cls, kind: str) -> str:
        if not is_registered(kind):
            name = kind.removesuffix(DIFFERENCE)
            raise ValueError(f"kind {kind!r} belongs to no registered protocol{nearest(name, protocols.names())}")
        return kind

    @classmethod
    def build(
        cls,
        estimate: Estimate,
        level: float,
        *,
        shared: Mapping[str, Any],
        seeds: Mapping[str, Any],
        **fields: Any,
    ) -> Result:
        """A line from an estimate: its value, interval, level and numbers of subjects and episodes.

        Args:
            estimate: from `imu_video.metrics.inference.estimate`.
            level: nominal coverage of the interval.
            shared: fields common to all lines of one command, see `provenance`.
            seeds: seeds that enter the figure.
            fields: all other fields of the line.
        """
        details = dict(fields.pop("details", {}))
        return cls(
            value=estimate.value,
            **ends(estimate.interval(level)),
            level=level,
            subjects=estimate.subjects,
            episodes=max(estimate.episodes, estimate.seeds, estimate.pretraining),
            seeds=dict(seeds),
            details={**details, "inference": facts(estimate)},
            **fields,
            **shared,
        )

    @property
    def protocol(self) -> str:
        """Name of the protocol that the line belongs to."""
        return self.kind.removesuffix(DIFFERENCE)

    @property
    def is_difference(self) -> bool:
        """Whether the line is a paired difference."""
        return self.kind.endswith(DIFFERENCE)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Fields that a repeated measurement shares with this one: in reports the later line replaces the earlier."""
        return (
            self.kind,
            self.metric,
            self.model,
            self.reference,
            self.probe,
            self.domain,
            self.setting,
            self.shots,
            self.encoder.get("weights"),
            self.data.get("digest"),
            *(str(self.details.get(name)) for name in protocols.get(self.protocol).variants),
        )

    @property
    def one_pretraining_seed(self) -> bool:
        """Whether an encoder of a single pretraining seed was evaluated, so that the interval holds for it alone."""
        named = self.encoder.get("name") not in (None, "none")
        runs = self.encoder.get("run_id")
        return named and "pretraining" not in self.encoder and not (isinstance(runs, list) and len(runs) > 1)

    @property
    def decided(self) -> bool:
        """Whether a difference is distinguished from zero after correction over the comparisons of its table.

        Lines written before p values and intervals came from one procedure are never decided.
        """
        p = self.details.get("p_holm")
        return "inference" in self.details and isinstance(p, int | float) and p < 1 - self.level


def ends(interval: tuple[float, float]) -> dict[str, float | None]:
    """``low`` and ``high`` as result fields: None where unbounded."""
    return {
        name: value if math.isfinite(value) else None for name, value in zip(("low", "high"), interval, strict=True)
    }


def facts(estimate: Estimate) -> dict[str, Any]:
    """Standard error, share and levels of every factor of the variance, remarks, and the p value of a difference."""
    out: dict[str, Any] = {
        "shares": {factor: round(share, 4) for factor, share in estimate.shares.items()},
        "levels": {part.factor: part.levels for part in estimate.parts},
    }
    out |= {"folds": estimate.folds} if estimate.folds > 1 else {}
    out |= {"se": estimate.se} if math.isfinite(estimate.se) else {}
    out |= {} if estimate.fraction or estimate.p is None else {"p": estimate.p}
    return out | ({"remarks": list(estimate.remarks)} if estimate.remarks else {})


def provenance(*, encoder: Mapping[str, Any], data: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The fields that all lines of one command share."""
    import torch

    return {
        "encoder": dict(encoder),
        "data": dict(data),
        "config_digest": digest(config),
        "versions": {
            "imu-video": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "command": command_line(["imu-eval", *sys.argv[1:]]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
