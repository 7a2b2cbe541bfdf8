"""Fits every probe on the features of every model and counts its predictions; lines are made in lines.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.data.features import compute_features
from eval.probes import confidence_of, probes
from eval.protocols.representation.config import RepresentationConfig
from eval.protocols.representation.parts import Parts
from eval.results.cells import CellStore
from imu_video.bundle.encoder import EncoderBundle
from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.metrics.calibration import BINS, grouped_reliability_bins
from imu_video.metrics.ranking import class_ranks

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the keys; cells of another version are not reused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Predictions of one probe on the features of one model, counted.

    Args:
        model, probe: names in tables.
        seeds: seed of each of the R models; empty for one without randomness (R = 1).
        counts: (R, S, M, M): seed, test subject, true class, predicted class.
        ranks: (R, S, M): test windows whose true class has rank 1 .. M among the scores.
        bins: (R, S, B, 3) reliability bins; None where scores are not probabilities.
        chosen: hyper-parameters that the probe selected, one mapping per seed; empty for a probe without any.
    """

    model: str
    probe: str
    seeds: tuple[int, ...]
    counts: np.ndarray
    ranks: np.ndarray
    bins: np.ndarray | None
    chosen: tuple[Mapping[str, float], ...]

    def hits(self, k: int) -> np.ndarray:
        """Share of each subject's windows whose true class is among the k largest scores. Shape: (R, S)."""
        return np.asarray(self.ranks[..., :k].sum(axis=-1) / self.ranks.sum(axis=-1))

    def over_windows(self, k: int) -> float:
        """Share over all test windows, whatever their subject; mean over seeds."""
        return float((self.ranks[..., :k].sum(axis=(1, 2)) / self.ranks.sum(axis=(1, 2))).mean())


class RepresentationRun:
    """Computes what a store does not hold yet.

    Args:
        parts: training and test windows.
        bundle: the encoder under test.
        weights: digest of its weights.
        config: probes and references.
        store: finished cells; an interrupted run resumes from it.
    """

    def __init__(
        self, *, parts: Parts, bundle: EncoderBundle, weights: str, config: RepresentationConfig, store: CellStore
    ) -> None:
        self.parts, self.bundle, self.weights, self.config, self.store = parts, bundle, weights, config, store
        self.fitters = dict(zip(config.probe_names, config.probe_entries, strict=True))
        self.models = config.references.models(bundle.parts)

    def run(self) -> list[Outcome]:
        """Outcomes of every model and probe, models first; each model's features are computed once."""
        cells = [(model, seed, probe) for model, seed in self._seeds() for probe in self.fitters]
        missing = [cell for cell in cells if not self.store.has(self.key(*cell))]
        train, test = len(self.parts.train.rows), len(self.parts.test.rows)
        logger.info(
            f"{train} training windows, {test} test windows of {len(self.parts.subjects)} subjects, "
            f"{len(self.parts.classes)} classes: {len(cells)} fits, {len(cells) - len(missing)} finished"
        )
        for model, seed in self._seeds():
            todo = [probe for m, s, probe in missing if (m, s) == (model, seed)]
            features = self._features(model, seed) if todo else ()
            for probe in todo:
                self.store.put(self.key(model, seed, probe), self._fit(probe, model, *features))
        return [self._gather(model, probe) for model in self.models for probe in self.fitters]

    def key(self, model: str, seed: int | None, probe: str) -> Mapping[str, Any]:
        """Everything that a cell depends on and nothing else."""
        spec = {name: getattr(self.bundle.spec, name) for name in ("channels", "rate_hz", "mean", "std")}
        # The untrained copy of an encoder with parts takes the moments of its statistics from the weights.
        kept = {"weights": self.weights} if self.bundle.parts else {}
        source = {
            "pretrained": self.weights,
            **dict.fromkeys(self.bundle.parts, self.weights),
            "untrained": digest({"encoder": self.bundle.encoder_config, **spec, **kept}),
            "handcrafted": "",
        }
        rows = {
            name: {**part.facts, "rows": digest({"rows": part.rows.tolist()})}
            for name, part in (("train", self.parts.train), ("test", self.parts.test))
        }
        entry = self.fitters[probe]
        return {"format": FORMAT, **rows, "model": model, "source": source[model], "seed": seed, "probe": entry}

    def _seeds(self) -> list[tuple[str, int | None]]:
        return [(model, seed) for model, seeds in self.models.items() for seed in seeds or (None,)]

    def _features(self, model: str, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Features of training and test windows."""
        seeds = () if seed is None else (seed,)
        train, test = (
            compute_features(model, part.windows, part.rows, bundle=self.bundle, seeds=seeds).arrays[0]
            for part in (self.parts.train, self.parts.test)
        )
        return train, test

    def _fit(self, probe: str, model: str, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
        """Counts of one probe, as stored."""
        logger.info(f"{probe} on {train.shape[1]} {model} features")
        parts, classes, subjects = self.parts, len(self.parts.classes), len(self.parts.subjects)
        fitter = probes.build(self.fitters[probe])
        fitted = fitter.fit(train, parts.targets(parts.train), classes=classes)
        scores, truth = np.asarray(fitted.scores(test)), parts.targets(parts.test)
        if not np.isfinite(scores).all():
            raise ConfigError(f"probe {probe!r} gives scores that are not finite on {model} features")
        predicted = scores.argmax(axis=1)
        place = (parts.subject * classes + truth) * classes + predicted
        counts = np.bincount(place, minlength=subjects * classes**2).reshape(subjects, classes, classes)
        ranks = np.bincount(parts.subject * classes + class_ranks(scores, truth) - 1, minlength=subjects * classes)
        out = {"counts": counts, "ranks": ranks.reshape(subjects, classes)}
        chosen = dict(getattr(fitted, "chosen", {}))
        out |= {
            "chosen": np.array(list(chosen), dtype=np.str_),
            "values": np.array([*chosen.values()], dtype=np.float64),
        }
        how = getattr(fitter, "confidence", None)
        if how is not None:
            stated = confidence_of(scores, how)
            bins = grouped_reliability_bins(stated, predicted == truth, parts.subject, groups=subjects)
            out["bins"] = bins.reshape(subjects, BINS, 3)
        return out

    def _gather(self, model: str, probe: str) -> Outcome:
        seeds = self.models[model]
        held = [self.store.get(self.key(model, seed, probe)) for seed in seeds or (None,)]
        chosen = tuple(dict(zip(h["chosen"].tolist(), h["values"].tolist(), strict=True)) for h in held)
        return Outcome(
            model=model,
            probe=probe,
            seeds=seeds,
            counts=np.stack([h["counts"] for h in held]),
            ranks=np.stack([h["ranks"] for h in held]),
            bins=np.stack([h["bins"] for h in held]) if "bins" in held[0] else None,
            chosen=chosen if any(chosen) else (),
        )
