"""Runs probes of all models over few-shot episodes and counts predictions; figures and lines come from measure.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from eval.config import EvalConfig
from eval.data.features import FeatureSet, compute_features, for_encoder
from eval.data.splits import Episodes, draw_episodes, refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.probes import Probe, confidence_of, first_largest, fit_supports, probes, score_blocks
from eval.protocols.fewshot.supervised import SupervisedReference
from eval.results.counts import Counts
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.metrics.calibration import BINS, grouped_reliability_bins

logger = logging.getLogger(__name__)

SUPERVISED = "supervised"
Recipes = tuple[Sequence[WindowEncoder], Sequence[int]]
"""Encoders that differ in the pretraining seed, and these seeds (none for one encoder)."""
HEAD = "head"
"""Name of the supervised reference's own linear head in the probe column."""
_AT_ONCE = 256
"""Episodes whose fitted probes are kept in memory."""


def run_fewshot(
    windows: LabelledWindows,
    bundle: WindowEncoder,
    config: EvalConfig,
    *,
    also: Sequence[WindowEncoder] = (),
    seeds: Sequence[int] = (),
    against: Mapping[str, Recipes] | None = None,
) -> tuple[list[Counts], list[str]]:
    """Evaluate an encoder and its references on the same episodes.

    Args:
        windows: labelled windows of every split that the config's domains name.
        bundle: the encoder under test; its lineage names its pretraining subjects.
        config: domains, episodes, probes and references.
        also: encoders of the same recipe with other pretraining seeds.
        seeds: pretraining seeds of ``bundle`` and ``also``, where there are several.
        against: name in tables -> encoders of another recipe and their pretraining seeds.

    Returns:
        One `Counts` per (domain, shots, model, probe), and remarks to be reported with the figures.

    Raises:
        LeakageError: a query subject was in the pretraining.
        ConfigError: impossible domains or unknown probes.
    """
    fitters = {name: probes.build(entry) for name, entry in zip(config.probe_names, config.probe_entries, strict=True)}
    drawn = [draw_episodes(windows, domain, config.episodes) for domain in config.domains]
    remarks = [*windows.remarks]
    if "untrained" in bundle.lineage:
        remarks.append("the encoder has random weights (`imu-eval untrained`); its row `pretrained` is one more seed")
    others = against or {}
    for episodes in drawn:
        for encoder in (bundle, *also, *(b for bundles, _ in others.values() for b in bundles)):
            chosen_on = refuse_training_subjects(encoder.lineage, windows, episodes.domain.rows(windows))
            remark = f"{episodes.domain.name}: query subjects {chosen_on} were used to choose the checkpoint"
            if chosen_on and remark not in remarks:
                remarks.append(remark)
        if episodes.left_out:
            remarks.append(f"{episodes.domain.name}: too few windows or subjects for {', '.join(episodes.left_out)}")
    rows = np.unique(np.concatenate([episodes.rows for episodes in drawn]))
    models = config.references.models(bundle.parts)
    logger.info(f"features of {len(rows)} windows: {', '.join(models)}")
    features = [
        compute_features(model, windows, rows, bundle=bundle, seeds=own, also=also) for model, own in models.items()
    ]
    pretraining = dict.fromkeys(("pretrained", *bundle.parts), tuple(seeds))
    for name, (bundles, own) in others.items():
        held = compute_features("pretrained", windows, rows, bundle=bundles[0], also=bundles[1:])
        features.append(replace(held, model=name))
        pretraining[name] = tuple(own)
    out: list[Counts] = []
    for episodes in drawn:
        logger.info(
            f"{episodes.domain.name}: {len(episodes.episodes)} episodes, {len(episodes.names)} classes, "
            f"{len(episodes.subjects)} query subjects"
        )
        for shots in sorted(config.episodes.shots):
            for feature in features:
                for name, fitter in fitters.items():
                    counts, bins = tally_probe(windows, episodes, feature, fitter, shots)
                    own = pretraining.get(feature.model, ())
                    out.append(_counts(episodes, feature.model, name, shots, counts, feature.seeds, bins, own))
            if config.references.supervised.wanted(episodes.domain.name, shots):
                counts = count_supervised(windows, episodes, bundle, config, shots)
                out.append(_counts(episodes, SUPERVISED, HEAD, shots, counts[None], ()))
    return out, remarks


def tally_probe(
    windows: LabelledWindows, episodes: Episodes, features: FeatureSet, probe: Probe, shots: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Confusion counts, and reliability bins where the probe's scores are probabilities.

    Shapes:
        counts (R, E, S, M, M), bins (R, E, S, B, 3) or None.
    """
    tally = _Tally(windows, episodes)
    target = features.place(episodes.target)
    rows, labels = zip(*(episode.support_rows(shots) for episode in episodes.episodes), strict=True)
    supports = list(zip(features.place(np.stack(rows)), labels, strict=True))
    how = getattr(probe, "confidence", None)
    counts = np.zeros((len(features.arrays), len(supports), *tally.shape), dtype=np.int64)
    bins = np.zeros((*counts.shape[:3], BINS, 3), dtype=np.float32) if how else None
    for seed, array in enumerate(features.arrays):
        asked = array[target]
        for first in range(0, len(supports), _AT_ONCE):
            with threadpool_limits(1):  # supports are tiny, so threads cost more than they save
                fitted = fit_supports(probe, array, supports[first : first + _AT_ONCE], classes=tally.classes)
            for places, scores in score_blocks(fitted, asked):
                numbers = first + np.array(places)
                predicted = first_largest(scores)
                counts[seed, numbers] = tally.counts(numbers, predicted)
                if bins is not None and how is not None:
                    bins[seed, numbers] = tally.reliability(numbers, predicted, confidence_of(scores, how))
    return counts, bins


def count_supervised(
    windows: LabelledWindows, episodes: Episodes, bundle: WindowEncoder, config: EvalConfig, shots: int
) -> np.ndarray:
    """Confusion counts of the supervised reference on its episodes; zero on the other episodes. Shape: (E, S, M, M).

    Raises:
        ConfigError: the data lacks a channel of the encoder, or has it in another unit.
    """
    reference = SupervisedReference(
        spec=bundle.spec, encoder=bundle.encoder_config, config=config.references.supervised
    )
    tally = _Tally(windows, episodes)
    out = np.zeros((len(episodes.episodes), *tally.shape), dtype=np.int64)
    for number, episode in enumerate(episodes.episodes[: config.references.supervised.episodes]):
        rows, labels = episode.support_rows(shots)
        support, query = (
            for_encoder(windows.take(r), bundle.spec, name="the supervised reference").x for r in (rows, episode.query)
        )
        seed = config.episodes.seed * 1_000_003 + number
        predicted = reference.predict(support, labels, query, classes=tally.classes, seed=seed)
        everywhere = np.zeros(len(episodes.target), dtype=np.int64)
        everywhere[np.searchsorted(episodes.target, episode.query)] = predicted
        out[number] = tally.counts([number], everywhere[None])[0]
    return out


class _Tally:
    """Turns predictions for a domain's target rows into counts by subject and class."""

    def __init__(self, windows: LabelledWindows, episodes: Episodes) -> None:
        self.episodes = episodes
        self.classes = len(episodes.names)
        target = episodes.target
        subject = np.searchsorted(np.array(episodes.subjects), windows.subject[target])
        truth = np.searchsorted(episodes.classes, windows.labels[target])
        self.subject, self.truth = subject, truth
        self.base = (subject * self.classes + truth) * self.classes
        self.shape = (len(episodes.subjects), self.classes, self.classes)

    def counts(self, numbers: Sequence[int] | np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Counts over episodes' queries, from predictions for all target rows. Shapes: (b,), (b, n) -> (b, S, M, M)."""
        queried, size = self.episodes.queried[numbers], int(np.prod(self.shape))
        code = predicted + self.base + size * np.arange(len(numbers))[:, None]
        return np.bincount(code[queried], minlength=size * len(numbers)).reshape(-1, *self.shape)

    def reliability(self, numbers: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Reliability bins over the queries of episodes. Shapes: numbers (b,), others (b, n) -> (b, S, B, 3)."""
        queried, subjects = self.episodes.queried[numbers], self.shape[0]
        group = self.subject + subjects * np.arange(len(numbers))[:, None]
        bins = grouped_reliability_bins(
            confidence[queried], (predicted == self.truth)[queried], group[queried], groups=subjects * len(numbers)
        )
        return bins.reshape(len(numbers), subjects, BINS, 3)


def _counts(
    episodes: Episodes,
    model: str,
    probe: str,
    shots: int,
    counts: np.ndarray,
    seeds: Sequence[int],
    bins: np.ndarray | None = None,
    pretraining: Sequence[int] = (),
) -> Counts:
    return Counts(
        model=model,
        probe=probe,
        domain=episodes.domain.name,
        setting=episodes.domain.setting,
        shots=shots,
        classes=episodes.names,
        subjects=episodes.subjects,
        counts=counts,
        seeds=tuple(seeds),
        left_out=episodes.left_out,
        bins=bins,
        support=episodes.supporting(shots),
        pretraining=tuple(pretraining),
    )
