"""Fits a classifier on an encoder's features and measures it on subjects left out; predictions are made elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.data.features import check_measures, encoder_features
from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.probes.base import LinearScores
from eval.registry import probes
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.head import Head, HeadSpec, choose_threshold, fit_temperature
from imu_video.errors import ConfigError, LeakageError, ShardError
from imu_video.metrics.classify import accuracy, confusion_counts, macro_f1
from imu_video.metrics.inference import Estimate, estimate

logger = logging.getLogger(__name__)

FOLDS = 5
"""Groups of subjects, each of which is left out once."""


def fit_head(
    bundle: EncoderBundle,
    windows: LabelledWindows,
    *,
    probe: str = "logreg",
    classes: Sequence[str] | None = None,
    desired: float = 0.9,
    batch_size: int = 256,
) -> Head:
    """Fit a linear head on all windows, with temperature, threshold and evidence from subjects left out.

    The subjects are divided into five groups (or as many as there are subjects). For each group a head is fitted on the
    other groups. The scores of the left-out subjects determine the temperature, the threshold at which accepted
    predictions reach the desired accuracy, and the accuracy that is stored as evidence. The head itself is fitted on
    all subjects.

    Args:
        bundle: the encoder, loaded from a folder.
        windows: labelled windows of two subjects or more.
        probe: a registered linear probe: ``logreg`` or ``ridge``.
        classes: classes to distinguish; None: all that two subjects performed.
        desired: accuracy of the accepted predictions, in (0, 1).
        batch_size: windows per forward pass.

    Raises:
        ConfigError: an unknown class, fewer than two classes, a probe that is not linear, or windows with another
            gravity than those of the encoder's training.
        ShardError: fewer than two subjects.
    """
    if not bundle.weights_sha256:
        raise ConfigError(
            "the encoder was not loaded from a folder", hint="save it first, and load it with load_encoder"
        )
    if not 0 < desired < 1:
        raise ConfigError(f"desired accuracy {desired}: expected a number between 0 and 1")
    if len(np.unique(windows.subject)) < 2:
        raise ShardError(
            f"{windows.dataset}: labelled windows of one subject, expected two or more to measure a head",
            hint="build a data folder with labels of more subjects",
        )
    check_measures(bundle.spec, windows)
    windows, left_out = _distinguished(windows, classes)
    subjects = np.unique(windows.subject)
    features = encoder_features(bundle, windows, batch_size=batch_size)
    scores = np.zeros((len(windows), len(windows.classes)))
    folds = min(FOLDS, len(subjects))
    # The order is shuffled with a fixed seed, because neighbours in the alphabet often share a device or a group.
    part = np.random.default_rng(0).permutation(len(subjects)) % folds
    fold = part[np.searchsorted(subjects, windows.subject)]
    for number in range(folds):
        query = fold == number
        logger.info(f"subjects left out: group {number + 1} of {folds}")
        scores[query] = _scores(probe, features, windows.labels, ~query, query, len(windows.classes))
    temperature = fit_temperature(scores, windows.labels)
    final = _fitted(probe, features, windows.labels, len(windows.classes))
    spec = {
        "classes": windows.classes,
        "feature_dim": features.shape[1],
        "seconds": windows.window_s,
        "placements": tuple(sorted(set(windows.facts["placement"].tolist()))),
        "temperature": temperature,
    }
    scaled = scores / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    confidence = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
    predicted = scores.argmax(axis=1)
    threshold, share = choose_threshold(confidence, predicted == windows.labels, accuracy=desired)
    evidence = _evidence(windows, predicted, bundle) | {
        "probe": probe,
        "desired_accuracy": desired,
        "accepted_share": round(share, 4),
        "left_out_classes": left_out,
        "encoder_name": bundle.name,
    }
    return Head(
        spec=HeadSpec(**spec, threshold=threshold),
        weight=final.weight,
        bias=final.bias,
        encoder=bundle.weights_sha256,
        evidence=evidence,
    )


def _distinguished(windows: LabelledWindows, classes: Sequence[str] | None) -> tuple[LabelledWindows, list[str]]:
    """The windows of the distinguished classes, renumbered, and the classes that too few subjects performed."""
    performed = {
        name: len(np.unique(windows.subject[windows.labels == number])) for number, name in enumerate(windows.classes)
    }
    wanted = list(performed) if classes is None else list(classes)
    for name in wanted:
        if name not in performed:
            raise ConfigError(f"class {name!r} is not in the data: {', '.join(performed)}")
    few = sorted(name for name in wanted if performed[name] < 2)
    if few and classes is not None:
        raise ConfigError(f"classes performed by fewer than two subjects: {', '.join(few)}")
    kept = sorted(set(wanted) - set(few))
    if len(kept) < 2:
        raise ConfigError(f"{len(kept)} classes are performed by two subjects or more, expected at least two")
    numbers = np.array([kept.index(name) if name in kept else -1 for name in windows.classes])
    rows = np.flatnonzero(numbers[windows.labels] >= 0)
    taken = windows.take(rows)
    return replace(taken, labels=numbers[taken.labels], classes=tuple(kept)), few


def _fitted(probe: str, features: np.ndarray, labels: np.ndarray, classes: int) -> LinearScores:
    fitted = probes.build({"name": probe}).fit(features, labels, classes=classes)
    if not isinstance(fitted, LinearScores):
        raise ConfigError(f"probe {probe!r} is not linear; a head stores one matrix", hint="--probe logreg")
    return fitted


def _scores(
    probe: str, features: np.ndarray, labels: np.ndarray, support: np.ndarray, query: np.ndarray, classes: int
) -> np.ndarray:
    """Scores of the query rows; a class that the support lacks gets a score below all others."""
    present, own = np.unique(labels[support], return_inverse=True)
    out = np.full((int(query.sum()), classes), -np.inf)
    out[:, present] = _fitted(probe, features[support], own, len(present)).scores(features[query])
    if len(present) < classes:
        lowest = out[:, present].min() - 1.0
        out[~np.isfinite(out)] = lowest
    return out


def _evidence(windows: LabelledWindows, predicted: np.ndarray, bundle: EncoderBundle) -> dict[str, Any]:
    subjects = np.unique(windows.subject)
    counts = np.stack(
        [
            confusion_counts(
                windows.labels[windows.subject == one],
                predicted[windows.subject == one],
                classes=len(windows.classes),
            )
            for one in subjects
        ]
    )
    out: dict[str, Any] = {"dataset": windows.dataset, "digest": windows.digest, "windows": len(windows)}
    for name, metric in (("accuracy", accuracy), ("macro_f1", macro_f1)):
        out[name] = _plain(estimate(np.asarray(metric(counts))[None, None], fraction=True))
    total = counts.sum(axis=0)
    out["recall"] = {
        name: round(float(total[i, i] / max(1, total[i].sum())), 4) for i, name in enumerate(windows.classes)
    }
    try:
        refuse_training_subjects(bundle.lineage, windows, np.arange(len(windows)))
    except LeakageError:
        out["remark"] = "some of these subjects were in the pretraining data of the encoder"
    return out


def _plain(found: Estimate) -> dict[str, Any]:
    low, high = found.interval(0.95)
    ends = {"low": round(low, 4), "high": round(high, 4)} if np.isfinite(low) and np.isfinite(high) else {}
    return {"value": round(found.value, 4), **ends, "subjects": found.subjects}


def load_labelled(data: str | Path, splits: Sequence[str] | None, placements: Sequence[str] | None) -> LabelledWindows:
    """The labelled windows of a data folder or an array folder, of all splits unless some are named."""
    from eval.data.source import open_labelled

    opened = open_labelled(data)
    return opened.windows(splits=list(splits or opened.splits), placements=placements)
