"""Temperature of the probabilities of a text head, from validation subjects of its training data; no head is fitted.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599): the most probable activity of a window stays the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.data.features import check_measures, encoder_features
from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.heads import FOLDS
from imu_video.bundle.card import render
from imu_video.bundle.encoder import CARD, EncoderBundle, load_encoder, read_config
from imu_video.bundle.folder import CONFIG, config_text
from imu_video.bundle.head import fit_temperature
from imu_video.bundle.locate import encoder_folder
from imu_video.bundle.text import Calibrated, TextCalibration
from imu_video.errors import CheckpointError, ConfigError, ShardError
from imu_video.metrics.calibration import expected_calibration_error, reliability_bins
from imu_video.runtime.files import atomic_folder, is_free


def calibrate_text(
    bundle: EncoderBundle,
    sources: Sequence[LabelledWindows],
    *,
    splits: Sequence[str] = ("val",),
    batch_size: int = 256,
) -> TextCalibration:
    """Fit the temperature on labelled windows of subjects that the encoder was not trained on.

    The classes of a dataset are its activities; labels of one activity are one class. The expected calibration error is
    that of subjects left out: they are divided into five groups (or as many as there are subjects), and each group is
    measured with the temperature of the others. The stored temperature is fitted on all of them.

    Args:
        bundle: encoder with a text head.
        sources: labelled windows of one or more datasets, of two activities each.
        splits: their splits, for the record.
        batch_size: windows per forward pass.

    Shapes: windows (N, C, T), N >= 1.

    Raises:
        ConfigError: no text head, a dataset with one activity, or windows with another gravity than in training.
        LeakageError: a subject of the training data.
        ShardError: fewer than two subjects in all.

    Example:
        ``calibrate_text(load_encoder("encoder"), [load_labelled("data/mine", ["val"], None)])``
    """
    head, scores, labels, subjects, facts = bundle.text_head, [], [], [], []
    for windows in sources:
        check_measures(bundle.spec, windows)
        refuse_training_subjects(bundle.lineage, windows, np.arange(len(windows)))
        activities, numbers = _activities(windows, head.spec.phrasing.name_of)
        features = encoder_features(bundle, windows, batch_size=batch_size)
        scores.append(head.spec.scale * np.asarray(head.scores(features, activities), np.float64))
        labels.append(numbers)
        subjects.append(np.char.add(f"{windows.dataset}/", windows.subject.astype(str)))
        facts.append(
            Calibrated(
                dataset=windows.dataset,
                digest=windows.digest,
                splits=tuple(splits),
                subjects=len(np.unique(windows.subject)),
                windows=len(windows),
                activities=tuple(activities),
            )
        )
    logits, truth, subject = _side_by_side(scores), np.concatenate(labels), np.concatenate(subjects)
    names = np.unique(subject)
    if len(names) < 2:
        raise ShardError(
            f"labelled windows of {len(names)} subject, expected two or more to measure a calibration",
            hint="name a split or a data folder with more subjects",
        )
    # Shuffled with a fixed seed: neighbours in the alphabet often share a device or a group.
    part = np.random.default_rng(0).permutation(len(names)) % min(FOLDS, len(names))
    fold = part[np.searchsorted(names, subject)]
    held_out = np.zeros_like(logits)
    for number in range(fold.max() + 1):
        query = fold == number
        held_out[query] = logits[query] / fit_temperature(logits[~query], truth[~query])
    return TextCalibration(
        temperature=fit_temperature(logits, truth),
        data=tuple(facts),
        ece=round(_error(held_out, truth), 4),
        ece_before=round(_error(logits, truth), 4),
    )


def described(calibration: TextCalibration) -> list[str]:
    """The result of a calibration in words.

    Example:
        >>> made = Calibrated(dataset="made", digest="0", splits=("val",), subjects=4, windows=9, activities=())
        >>> described(TextCalibration(temperature=2.0, data=(made,), ece=0.05, ece_before=0.2))
        ['expected calibration error on subjects left out: 0.050 with temperature 2.000, 0.200 with that of training']
    """
    ece, before = calibration.ece, calibration.ece_before
    lines = [
        f"expected calibration error on subjects left out: {ece:.3f} with temperature {calibration.temperature:.3f}, "
        f"{before:.3f} with that of training"
    ]
    if ece >= before:
        lines.append("note: the temperature of training is as well calibrated on these subjects: nothing is gained")
    return lines


def write_calibrated(encoder: str | Path, out: str | Path, calibration: TextCalibration) -> Path:
    """Copy an encoder folder with the calibration in its text head; weights and all other files are unchanged.

    Args:
        encoder: folder, shipped name or repository.
        out: folder to write; must be absent or empty.
        calibration: from `calibrate_text`.

    Raises:
        CheckpointError: the folder has content.
    """
    target, source = Path(out), encoder_folder(encoder)
    if not is_free(target):
        raise CheckpointError(f"{target} exists and is not empty", hint="choose another output folder")
    config = read_config(source)
    config["text"] = {**config["text"], "calibration": calibration.model_dump(mode="json")}
    with atomic_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        (temporary / CONFIG).write_text(config_text(config), encoding="utf-8")
        (temporary / CARD).write_text(render(config), encoding="utf-8")
    load_encoder(target)
    return target


def _activities(windows: LabelledWindows, name_of: Any) -> tuple[list[str], np.ndarray]:
    """The activities of the labels that windows have, and the number of each window's."""
    named = np.array([name_of(label) for label in windows.classes])[windows.labels]
    activities, numbers = np.unique(named, return_inverse=True)
    if len(activities) < 2:
        raise ConfigError(
            f"{windows.dataset}: its windows have {len(activities)} activity, expected two or more",
            hint="leave this data folder out",
        )
    return activities.tolist(), numbers


def _side_by_side(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Logits of datasets with different numbers of classes; classes that a dataset lacks have probability 0."""
    most = max(one.shape[1] for one in scores)
    padded = [np.pad(one, ((0, 0), (0, most - one.shape[1])), constant_values=-np.inf) for one in scores]
    return np.concatenate(padded)


def _error(logits: np.ndarray, truth: np.ndarray) -> float:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = raised.max(axis=1) / raised.sum(axis=1)
    return float(expected_calibration_error(reliability_bins(confidence, logits.argmax(axis=1) == truth)))
