"""Classifiers on the features of one encoder; a head is stored as a folder and fitted by `imu-eval fit-head`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from imu_video.bundle.folder import CONFIG, WEIGHTS, FolderFormat, config_text, load_weights
from imu_video.config import Config
from imu_video.errors import CheckpointError
from imu_video.runtime import documents
from imu_video.runtime.files import atomic_folder, is_free
from imu_video.types import JsonDict
from imu_video.version import __version__

if TYPE_CHECKING:
    from imu_video.bundle.window_encoder import WindowEncoder

FOLDER = FolderFormat(
    name="imu-video-head",
    version=1,
    what="head",
    command="imu-eval fit-head ENCODER DATA --out HEAD",
    required=("head", "encoder", "evidence"),
)
"""Format of a head folder on disk."""


class HeadSpec(Config):
    """What a head predicts, and from which features.

    Args:
        classes: names of the M classes.
        feature_dim: E, width of the encoder's features.
        seconds: length of the windows that it was fitted on.
        placements: devices that it was fitted on.
        temperature: scores are divided by it before the softmax, above 0.
        threshold: smallest probability of a prediction; below it the head abstains. 0 never abstains.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=10_000)]
    feature_dim: int = Field(ge=1, le=2**24)
    seconds: float = Field(gt=0, le=1e6)
    placements: tuple[str, ...] = ()
    temperature: float = Field(default=1.0, gt=0, le=1e6)
    threshold: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _distinct(self) -> HeadSpec:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be distinct, got {list(self.classes)}")
        if not all(name.strip() for name in self.classes):
            raise ValueError(f"classes must have names, which are not blank, got {list(self.classes)}")
        return self


class Classifier(ABC):
    """Base class of classifiers on features: calibrated probabilities, and names with abstention.

    Args:
        spec: classes, temperature, threshold.
        evidence: JSON facts about what the predictions rest on.
    """

    encoder: str = ""
    """Hash of the weights of the encoder whose features it reads; empty: not stated."""

    def __init__(self, *, spec: HeadSpec, evidence: Mapping[str, Any] | None = None) -> None:
        self.spec, self.evidence = spec, dict(evidence or {})

    def check_encoder(self, encoder: WindowEncoder, *, source: str | Path = "the head") -> None:
        """Refuse an encoder whose features this classifier was not made for, also one of the same width.

        Args:
            encoder: computes the features: the encoder, or an ONNX file that was exported from it.
            source: name of the classifier, for the error.

        Raises:
            CheckpointError: other weights, or another number of features.
        """
        weights = [one for one in (encoder.weights_sha256, encoder.source_sha256) if one]
        other = bool(self.encoder and weights) and self.encoder not in weights
        if other or self.spec.feature_dim != encoder.feature_dim:
            seen = encoder.weights_sha256 or "in memory"
            raise _other_encoder(self, source, encoder.name, f"{seen[:12]}, {encoder.feature_dim} features")

    @abstractmethod
    def scores(self, features: np.ndarray) -> np.ndarray:
        """(N, M) float64 logits of features (N, E), before the temperature."""

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probability of every class. Shapes: (N, E) -> (N, M) float64.

        Raises:
            ValueError: another width of features.
        """
        if features.ndim != 2 or features.shape[1] != self.spec.feature_dim:
            raise ValueError(f"expected features (N, {self.spec.feature_dim}), got {features.shape}")
        scores = self.scores(features) / self.spec.temperature
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def names(self, probabilities: np.ndarray, *, threshold: float | None = None) -> list[str | None]:
        """Most probable class of each row, None below the threshold. Shapes: (N, M) -> N names.

        Args:
            probabilities: from `probabilities`.
            threshold: in [0, 1); None: that of the spec.
        """
        least = self.spec.threshold if threshold is None else threshold
        best = probabilities.argmax(axis=1)
        sure = probabilities.max(axis=1) >= least
        return [self.spec.classes[i] if known else None for i, known in zip(best.tolist(), sure.tolist(), strict=True)]


class Head(Classifier):
    """Class probabilities from features: ``softmax((features @ weight + bias) / temperature)``.

    Args:
        spec: classes, temperature, threshold.
        weight: (E, M).
        bias: (M,).
        encoder: hash of the weights of the encoder whose features it reads (``weights_sha256`` of its config.json).
        evidence: JSON facts about the data, and the accuracy on subjects that it was not fitted on.

    Raises:
        ValueError: shapes that do not fit the spec, or values that are not finite.

    Example:
        >>> spec = HeadSpec(classes=("sit", "walk"), feature_dim=2, seconds=5.0, threshold=0.7)
        >>> head = Head(spec=spec, weight=np.array([[0.0, 2.0], [1.0, 0.0]]), bias=np.zeros(2), encoder="ab12")
        >>> head.probabilities(np.array([[1.0, 0.0], [0.0, 0.1]])).round(2).tolist()
        [[0.12, 0.88], [0.52, 0.48]]
        >>> head.names(head.probabilities(np.array([[1.0, 0.0], [0.0, 0.1]])))
        ['walk', None]
    """

    def __init__(
        self,
        *,
        spec: HeadSpec,
        weight: np.ndarray,
        bias: np.ndarray,
        encoder: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        shape = (spec.feature_dim, len(spec.classes))
        if weight.shape != shape or bias.shape != shape[1:]:
            raise ValueError(f"weight {weight.shape} and bias {bias.shape} do not fit (E, M) = {shape}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError("weight and bias must be finite")
        super().__init__(spec=spec, evidence=evidence)
        self.encoder = encoder
        self.weight, self.bias = np.asarray(weight, np.float64), np.asarray(bias, np.float64)

    def scores(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(features.astype(np.float64) @ self.weight + self.bias)

    def save(self, folder: str | Path) -> Path:
        """Write the head folder atomically.

        Args:
            folder: must be absent or empty.

        Raises:
            CheckpointError: the folder has content.
        """
        target = Path(folder)
        if not is_free(target):
            raise CheckpointError(f"{target} exists and is not empty", hint="choose another folder for the head")
        linear = nn.Linear(self.spec.feature_dim, len(self.spec.classes), dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(self.weight.T))
            linear.bias.copy_(torch.from_numpy(self.bias))
        facts = {"head": self.spec.model_dump(mode="json"), "encoder": self.encoder}
        config, weights = FOLDER.pack(
            facts, linear, origin={"evidence": self.evidence, "versions": {"imu-video": __version__}}
        )
        with atomic_folder(target) as temporary:
            (temporary / WEIGHTS).write_bytes(weights)
            (temporary / CONFIG).write_text(config_text(config), encoding="utf-8")
        return target


def load_head(folder: str | Path, *, encoder: WindowEncoder | str | None = None) -> Head:
    """Read a head folder.

    Args:
        folder: written by `Head.save`.
        encoder: the encoder that computes the features, or the hash of its weights; None skips the comparison.

    Raises:
        CheckpointError: a missing, damaged or foreign folder, or a head for another encoder.
    """
    config, weights = FOLDER.read(folder)
    source = f"{Path(folder) / CONFIG}, head"
    spec = documents.validate(HeadSpec, config["head"], source, error=CheckpointError)
    linear = nn.Linear(spec.feature_dim, len(spec.classes), dtype=torch.float64)
    load_weights(linear, weights, folder=folder, built_from=f"{len(spec.classes)} classes of width {spec.feature_dim}")
    if not all(bool(torch.isfinite(value).all()) for value in linear.state_dict().values()):
        raise CheckpointError(f"{folder}: weights that are not finite", hint="copy or fit the head again")
    evidence: JsonDict = dict(config["evidence"]) if isinstance(config["evidence"], dict) else {}
    head = Head(
        spec=spec,
        weight=linear.weight.detach().numpy().T,
        bias=linear.bias.detach().numpy(),
        encoder=str(config["encoder"]),
        evidence=evidence,
    )
    if isinstance(encoder, str):
        if encoder != head.encoder:
            raise _other_encoder(head, folder, "", encoder[:12])
    elif encoder is not None:
        head.check_encoder(encoder, source=folder)
    return head


def _other_encoder(head: Classifier, source: str | Path, name: str, seen: str) -> CheckpointError:
    """The error for a classifier with the features of another encoder.

    Args:
        head: the classifier.
        source: its name.
        name: name of the encoder; empty: not known.
        seen: first digits of the hash of the encoder's weights, and what else is known of it.
    """
    own = str(head.evidence.get("encoder_name") or "")
    fitted = f"encoder {head.encoder[:12] or 'of another width'}, {head.spec.feature_dim} features"
    again = ""
    if own and own == name:
        again = f": {name} was trained or exported again since the head was fitted"
    data = str(head.evidence.get("dataset") or "")
    windows = f" on the labelled windows of {data}" if data else ""
    # The name of a local folder is no path to it; those of shipped encoders and of repositories can be copied.
    command = FOLDER.command.replace("ENCODER", name if "/" in name else "ENCODER")
    return CheckpointError(
        f"{source}: fitted on the features of {own + ' (' if own else ''}{fitted}{')' if own else ''}, got "
        f"{name + ' (' if name else ''}encoder {seen}{')' if name else ''}{again}",
        hint=f"fit the head again{windows}: {command}"
        + ("" if again else f"; or name the encoder that it was fitted with{', ' + own if own else ''}"),
    )


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the cross-entropy of ``softmax(scores / temperature)`` (Guo et al. 2017,
    arXiv 1706.04599).

    Args:
        scores: (N, M) of windows that the scores were not fitted on.
        labels: (N,) numbers of classes.

    Example:
        >>> scores = np.array([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
        >>> fit_temperature(scores, np.array([0, 0, 1, 1])) > 5  # one in four is wrong, stated with certainty
        True
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        s = scores / math.exp(log_temperature)
        s = s - s.max(axis=1, keepdims=True)
        return float((np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), labels]).mean())

    return float(math.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))


def choose_threshold(confidence: np.ndarray, correct: np.ndarray, *, accuracy: float) -> tuple[float, float]:
    """Smallest threshold above which predictions reach an accuracy, and the share of windows above it.

    Args:
        confidence: (N,) probability of each prediction.
        correct: (N,) whether it is right.
        accuracy: desired accuracy of the accepted predictions, in (0, 1).

    Returns:
        The threshold in [0, 1) and the share of accepted windows. If no threshold reaches the accuracy, the one of the
        most confident hundredth of the windows.

    Example:
        >>> choose_threshold(np.array([0.4, 0.6, 0.9, 0.8]), np.array([0, 0, 1, 1], bool), accuracy=0.9)
        (0.8, 0.5)
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, right = confidence[order], np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    # Windows of equal confidence are accepted together.
    last = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)
    reached = np.flatnonzero(last & (right >= accuracy))
    number = (
        int(reached[-1])
        if len(reached)
        else int(np.flatnonzero(last & (np.arange(len(order)) >= len(order) // 100))[0])
    )
    if number == len(order) - 1 and len(reached):
        return 0.0, 1.0
    return min(float(sorted_confidence[number]), 1 - 1e-9), (number + 1) / len(order)
