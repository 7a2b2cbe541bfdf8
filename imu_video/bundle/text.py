"""The text head of an encoder: activities by their names, without labelled windows; it is trained by `objectives`.

An encoder folder with a text head contains `text.safetensors` and the section ``text`` of config.json. Features need
neither.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from imu_video import registry
from imu_video.bundle.folder import CONFIG, TEXT, tensors_of
from imu_video.bundle.head import Classifier, HeadSpec
from imu_video.config import Config
from imu_video.encoders.allocation import bounded
from imu_video.errors import CheckpointError, ConfigError
from imu_video.runtime import documents
from imu_video.teachers.sentences import TEMPLATES, Phrasing, embed_texts, fingerprint_of
from imu_video.types import JsonDict

logger = logging.getLogger(__name__)

_EQUAL = 0.9999
"""Cosine above which two prompts are the same activity."""
_LONGEST = 500
"""Largest number of characters of a prompt; text encoders cut longer texts."""

Width = Annotated[int, Field(ge=1, le=2**16)]
Names = Annotated[tuple[str, ...], Field(max_length=100_000)]


def make_head(*, features: int, width: int, hidden: int | None, dropout: float = 0.0) -> nn.Module:
    """The network of a text head, before the normalisation to unit length.

    Args:
        features: E.
        width: W of the sentence embeddings.
        hidden: width of the hidden layer; None: one linear map.
        dropout: rate behind the hidden layer, in training.

    Shapes: (N, E) -> (N, W).
    """
    if hidden is None:
        return nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
    return nn.Sequential(
        nn.LayerNorm(features),
        nn.Linear(features, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
    )


class Calibrated(Config):
    """Validation windows of one dataset that a calibration was fitted on."""

    dataset: str
    digest: str
    splits: tuple[str, ...]
    subjects: int = Field(ge=1)
    windows: int = Field(ge=1)
    activities: Names


class TextCalibration(Config):
    """Temperature of the probabilities of a text head, from labelled validation windows (`imu-eval calibrate-text`).

    Args:
        temperature: divides the logits of training before the softmax.
        data: what it was fitted on.
        ece: expected calibration error on subjects that the temperature was not fitted on.
        ece_before: of the same windows with the temperature of training.
    """

    temperature: float = Field(gt=0, le=1e6)
    data: Annotated[tuple[Calibrated, ...], Field(min_length=1)]
    ece: float = Field(ge=0, le=1)
    ece_before: float = Field(ge=0, le=1)


class TextSpec(Config):
    """What a text head compares with.

    Args:
        feature_dim: E, width of the encoder's features.
        columns: the first of the features that the head reads, and the one after the last; None: all of them.
        text_dim: W, width of the sentence embeddings.
        hidden: width of the hidden layer; None for one linear map.
        scale: logits are cosine times scale; learned in training.
        encoder: config entry of the text encoder.
        fingerprint: of the text encoder.
        templates, words: see `Phrasing`.
        activities: names whose embeddings are stored: they need no text encoder.
        seen: those of them that windows of the training data had.
        calibration: temperature of the probabilities; None: that of training.
    """

    feature_dim: int = Field(ge=1, le=2**24)
    columns: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None = None
    text_dim: Width
    hidden: Width | None = None
    scale: float = Field(gt=0, le=1000)
    encoder: dict[str, Any]
    fingerprint: str
    templates: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] = TEMPLATES
    words: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    activities: Names = ()
    seen: Names = ()
    calibration: TextCalibration | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out where there is none: folders stay readable by versions that do not know the key."""
        plain: dict[str, Any] = serialise(self)
        if plain.get("calibration", ...) is None:
            del plain["calibration"]
        return plain

    @model_validator(mode="after")
    def _inside(self) -> TextSpec:
        if self.columns is not None and not self.columns[0] < self.columns[1] <= self.feature_dim:
            raise ValueError(f"columns {self.columns} are not columns of {self.feature_dim} features")
        return self

    @property
    def read(self) -> slice:
        """The columns of the features that the head reads."""
        return slice(*(self.columns or (0, self.feature_dim)))

    @property
    def sharpness(self) -> float:
        """Factor of the cosines before the softmax: ``scale``, divided by the temperature of the calibration."""
        return self.scale / (1.0 if self.calibration is None else self.calibration.temperature)

    @property
    def phrasing(self) -> Phrasing:
        """How names become sentences."""
        return Phrasing(templates=self.templates, words=self.words)


class TextHead:
    """Cosines of windows with prompts: ``unit(network(features)) . unit(sentence - centre)``.

    Args:
        spec: widths, text encoder, templates.
        network: made by `make_head`.
        centre: (W,) mean of the texts in training.
        activities: (A, W) unit means of the sentences of ``spec.activities``.

    Raises:
        ValueError: shapes that do not fit the spec, or values that are not finite.

    Example:
        >>> spec = TextSpec(feature_dim=4, text_dim=3, scale=10, encoder={}, fingerprint="", activities=("sit", "walk"))
        >>> network = make_head(features=4, width=3, hidden=None)
        >>> head = TextHead(spec=spec, network=network, centre=torch.zeros(3), activities=torch.eye(3)[:2])
        >>> head.scores(np.ones((5, 4), np.float32), ["walking", "sitting"]).shape
        (5, 2)
    """

    def __init__(self, *, spec: TextSpec, network: nn.Module, centre: Tensor, activities: Tensor) -> None:
        self.spec, self.network = spec, network.eval().requires_grad_(False)
        self.centre, self.activities = centre.float().cpu(), activities.float().cpu()
        expected = ((spec.text_dim,), (len(spec.activities), spec.text_dim))
        if (self.centre.shape, self.activities.shape) != expected:
            raise ValueError(f"centre {tuple(centre.shape)} and activities {tuple(activities.shape)}, not {expected}")
        tensors = (self.centre, self.activities, *network.state_dict().values())
        if not all(bool(value.isfinite().all()) for value in tensors):
            raise ValueError("weights and embeddings must be finite")
        self._encoder: Any = None
        self.encoder = ""  # hash of the weights of the encoder whose features it reads; empty: not stated

    @torch.inference_mode()
    def embed(self, features: np.ndarray) -> np.ndarray:
        """Windows in the space of the sentences. Shapes: (N, E) -> (N, W) unit norm.

        Raises:
            ValueError: another width of features.
        """
        if features.ndim != 2 or features.shape[1] != self.spec.feature_dim:
            raise ValueError(f"expected features (N, {self.spec.feature_dim}), got {features.shape}")
        rows: Tensor = self.network.cpu()(torch.from_numpy(np.asarray(features[:, self.spec.read], np.float32)))
        return F.normalize(rows, dim=-1).numpy()

    def prompts(self, names: Sequence[str], *, templates: Sequence[str] | None = None) -> np.ndarray:
        """Embeddings of activities. Shapes: M names -> (M, W) unit norm.

        Args:
            names: labels or phrases that complete "a person is ...". Stored activities need no text encoder.
            templates: sentences with ``{label}``; None: those of the spec, and the stored activities.

        Raises:
            ConfigError: no or an empty name, or a name that is not stored where the text encoder is not installed.
            CheckpointError: another text encoder than in training.
        """
        names = _checked(names)
        phrasing, known = self.spec.phrasing, dict(zip(self.spec.activities, self.activities, strict=True))
        if templates is not None:
            phrasing, known = replace(phrasing, templates=tuple(templates)), {}
        named = [phrasing.name_of(name) for name in names]
        # Two prompts of one activity, such as two ways of lying, would be equal: they keep their own words.
        named = [own if named.count(own) == 1 else name for name, own in zip(names, named, strict=True)]
        missing = {name: phrasing.sentences(name) for name in named if name not in known}
        if missing:
            table = embed_texts(self._text_encoder(next(iter(missing))), missing)
            known |= dict(zip(table.names, table.prototypes(), strict=True))
        rows = torch.stack([known[name] for name in named])
        return F.normalize(rows - self.centre, dim=-1).numpy()

    def _text_encoder(self, name: str) -> Any:
        if self._encoder is None:
            try:
                built = registry.text_encoders.build(self.spec.encoder)
            except ConfigError as error:
                stored = ", ".join(self.spec.seen or self.spec.activities)
                raise ConfigError(
                    f"activity {name!r} is not among the {len(self.spec.activities)} of the encoder: {error.message}",
                    hint=f"{error.hint}; without it: {stored}",
                ) from error
            found = fingerprint_of(built)
            if found != self.spec.fingerprint:
                raise CheckpointError(
                    f"text encoder {self.spec.encoder.get('name')!r} has fingerprint {found}, the encoder was trained "
                    f"with {self.spec.fingerprint}",
                    hint="install the version of the text encoder that it was trained with, or use stored activities",
                )
            self._encoder = built
        return self._encoder

    def scores(self, features: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        """Cosine of every window with every prompt. Shapes: (N, E), M prompts -> (N, M)."""
        return np.asarray(self.embed(features) @ self.prompts(prompts).T)

    def classifier(self, prompts: Sequence[str], *, seconds: float, threshold: float = 0.0) -> TextClassifier:
        """A classifier whose classes are the prompts.

        Args:
            prompts: at least two different ones.
            seconds: length of its windows.
            threshold: smallest probability of a prediction.

        Raises:
            ConfigError: fewer than two prompts, or equal ones; see `prompts`.
        """
        prompts = _checked(prompts)
        different = {" ".join(prompt.replace("_", " ").casefold().split()) for prompt in prompts}
        if len(different) < 2 or len(different) < len(prompts):
            raise ConfigError(
                f"zero-shot prediction chooses between two or more different activities, got {prompts}",
                hint="--text walking --text sitting",
            )
        own = [self.spec.phrasing.name_of(prompt) for prompt in prompts]
        shared = {name: [p for p, one in zip(prompts, own, strict=True) if one == name] for name in own}
        for name, same in shared.items():
            if len(same) > 1:
                logger.warning(
                    f"{', '.join(map(repr, same))} are names of one activity ({name}): each gets a part of its "
                    "probability"
                )
        spec = HeadSpec(classes=tuple(prompts), feature_dim=self.spec.feature_dim, seconds=seconds, threshold=threshold)
        return TextClassifier(spec=spec, head=self)

    def pack(self) -> tuple[JsonDict, bytes]:
        """The section of config.json, with the hash of the bytes, and the bytes of `text.safetensors`."""
        from safetensors.torch import save

        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {"centre": self.centre, "activities": self.activities}
        # Half precision moves a cosine by about 0.001 and halves the file, which would exceed a small encoder.
        state = {k: v.detach().cpu().half().contiguous().clone() for k, v in tensors.items()}
        data = save(state, metadata={"format": "pt"})
        return {**self.spec.model_dump(mode="json"), "sha256": hashlib.sha256(data).hexdigest()}, data


def _checked(names: Sequence[str]) -> list[str]:
    """Names of activities without surrounding spaces.

    Raises:
        ConfigError: no names, an empty one, or something else than a list of texts.
    """
    # A text is a sequence of its letters, each of which would be a prompt.
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"prompts must be a list of texts, got {names!r}", hint='["walking", "sitting"]')
    stripped = [name.strip() for name in names]
    for name in stripped:
        if len(name) > _LONGEST or any("\ud800" <= letter <= "\udfff" for letter in name):
            what = "not valid UTF-8" if len(name) <= _LONGEST else f"{len(name):,} characters, at most {_LONGEST}"
            raise ConfigError(
                f"prompt {name[:40]!a}: {what}", hint='give short phrases, for example ["walking", "sitting"]'
            )
    if not stripped or not all(stripped):
        raise ConfigError(
            f"prompts must be names of activities, got {list(names)}", hint='for example ["walking", "sitting"]'
        )
    return stripped


class TextClassifier(Classifier):
    """Probabilities of prompts: ``softmax(sharpness * cosine)``, see `TextSpec.sharpness`.

    Args:
        spec: the prompts as classes.
        head: text head of the encoder.
    """

    def __init__(self, *, spec: HeadSpec, head: TextHead) -> None:
        evidence: JsonDict = {"zero_shot": f"text encoder {head.spec.fingerprint}"}
        if head.spec.calibration is not None:
            evidence["calibration"] = head.spec.calibration.model_dump(mode="json")
        super().__init__(spec=spec, evidence=evidence)
        self.head, self.encoder = head, head.encoder
        self._prompts = head.prompts(spec.classes)
        for i, j in np.argwhere(np.triu(self._prompts @ self._prompts.T > _EQUAL, 1)).tolist():
            raise ConfigError(
                f"prompts {spec.classes[i]!r} and {spec.classes[j]!r} have the same sentences for the text encoder",
                hint="keep one of them: each would get half of the probability",
            )

    def scores(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(self.head.embed(features) @ self._prompts.T, np.float64) * self.head.spec.sharpness


def read_text(folder: str | Path, section: object, *, feature_dim: int) -> TextHead:
    """Read the text head of an encoder folder.

    Args:
        folder: the encoder folder.
        section: section ``text`` of its config.json.
        feature_dim: E, width of the encoder's features.

    Raises:
        CheckpointError: a section or file that is missing, damaged or does not fit.
    """
    path, source, again = Path(folder) / TEXT, f"{Path(folder) / CONFIG}, text", "copy or export the folder again"
    if not isinstance(section, Mapping):
        raise CheckpointError(f"{source}: expected a mapping of keys, got {type(section).__name__}", hint=again)
    facts = {key: value for key, value in section.items() if key != "sha256"}
    spec = documents.validate(TextSpec, facts, source, error=CheckpointError, hint=again)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}", hint=again) from error
    found, expected = hashlib.sha256(data).hexdigest(), str(section.get("sha256"))
    if found != expected:
        raise CheckpointError(f"{path}: sha256 is {found[:12]}, config.json expects {expected[:12]}", hint=again)
    tensors = tensors_of(data, path)
    if spec.feature_dim != feature_dim:
        raise CheckpointError(f"{source}: feature_dim {spec.feature_dim}, the encoder has {feature_dim}", hint=again)
    first, last, _ = spec.read.indices(spec.feature_dim)
    try:
        with bounded("the network of the text head"):
            network = make_head(features=last - first, width=spec.text_dim, hidden=spec.hidden)
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
        return TextHead(spec=spec, network=network, centre=tensors["centre"], activities=tensors["activities"])
    except (RuntimeError, KeyError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path} does not fit {source}: {error}", hint=again) from error
