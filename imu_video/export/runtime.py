"""Features from an exported ONNX file, with ONNX Runtime and without torch's network; writes no file."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imu_video.bundle.input_spec import InputSpec
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.errors import CheckpointError, ConfigError, RecordingError
from imu_video.export.packages import needed
from imu_video.runtime import documents
from imu_video.types import IMU_CHANNELS, JsonDict

KEY = "imu_video"
"""Entry of the model's metadata with the facts of the encoder, as JSON."""
FORMAT, VERSION = "imu-video-onnx", 1


class _Head(BaseModel):
    """The keys of a head that are read here."""

    model_config = ConfigDict(strict=True)

    classes: list[str] = Field(min_length=2, max_length=10_000)
    threshold: float = Field(ge=0, lt=1)


class _Facts(BaseModel):
    """The keys of the metadata that are read here; there may be more."""

    model_config = ConfigDict(strict=True)

    encoder: dict[str, Any]
    input: dict[str, Any]
    feature_dim: int = Field(ge=1, le=2**24)
    lineage: dict[str, Any]
    precision: str
    samples: int | None = Field(ge=1)
    least: int = Field(ge=0)
    parts: dict[str, Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]] = {}
    head: _Head | None = None


class OnnxEncoder(WindowEncoder):
    """An exported file with the interface of `EncoderBundle`: windows in SI units in, features out.

    Args:
        session: ONNX Runtime session.
        facts: content of the metadata.
        weights_sha256: hash of the file.

    Example:
        ``load_onnx("exported/model.int8.onnx").encode(windows, rate_hz=100)``
    """

    def __init__(self, session: Any, facts: Mapping[str, Any], *, weights_sha256: str) -> None:
        self.session = session
        self.facts = dict(facts)
        self.spec = documents.validate(InputSpec, facts["input"], "metadata of the ONNX file, input", error=ConfigError)
        self.feature_dim = int(facts["feature_dim"])
        self.encoder_config: JsonDict = dict(facts["encoder"])
        self.lineage: JsonDict = dict(facts["lineage"])
        self.weights_sha256 = weights_sha256
        self.source_sha256 = str(facts.get("source_sha256") or "")
        self._output = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of a file that was exported with a head; empty for any other."""
        return tuple(self.facts.get("head", {}).get("classes", ()))

    def probabilities(self, windows: np.ndarray, **options: Any) -> np.ndarray:
        """Probability of every class. Shapes: (N, C, T) -> (N, M) float32.

        Args:
            windows: as for `encode`.
            options: as for `encode`: ``rate_hz``, ``channels`` ...

        Raises:
            ConfigError: the file has no head.
        """
        if not self.classes:
            raise ConfigError("the exported file has no head", hint="imu-video export ENCODER OUT --onnx --head HEAD")
        other = copy.copy(self)
        other._output, other.feature_dim = 1, len(self.classes)
        return other.encode(windows, **options)

    def predict(self, windows: np.ndarray, **options: Any) -> list[str | None]:
        """The most probable class of each window, None below the threshold of the head; see `probabilities`."""
        found = self.probabilities(windows, **options)
        sure = found.max(axis=1) >= float(self.facts["head"]["threshold"])
        return [self.classes[i] if known else None for i, known in zip(found.argmax(axis=1), sure, strict=True)]

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the features by their origin; see `WindowEncoder.parts`."""
        return {name: slice(*bounds) for name, bounds in self.facts.get("parts", {}).items()}

    def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        samples, only, least = x.shape[2], self.facts["samples"], int(self.facts["least"])
        if only is not None and samples != only:
            raise RecordingError(
                f"windows of {samples} samples at {self.spec.rate_hz:g} Hz, the exported file accepts {only}",
                hint=f"cut windows of {only / self.spec.rate_hz:g} s, or use the encoder folder with load_encoder",
            )
        if samples < least:
            raise RecordingError(
                f"windows of {samples} samples at {self.spec.rate_hz:g} Hz, the exported file accepts {least} and more",
                hint=f"cut windows of {least / self.spec.rate_hz:g} s and longer",
            )
        features: np.ndarray = self.session.run(None, {self.session.get_inputs()[0].name: np.ascontiguousarray(x)})[
            self._output
        ]
        return features


def load_onnx(file: str | Path, *, threads: int = 1) -> OnnxEncoder:
    """Open an exported ONNX file.

    Args:
        file: ``model.onnx`` or ``model.int8.onnx`` of an export.
        threads: threads of ONNX Runtime, at least 1.

    Raises:
        CheckpointError: no such file, damaged, or not exported by imu-video.
        ConfigError: the extra `export` is not installed.

    Example:
        ``load_onnx("exported/model.onnx").encode(windows, rate_hz=100)``
    """
    data = _bytes(file)
    return open_onnx(data, source=file, threads=threads)


def open_onnx(data: bytes, *, source: str | Path, threads: int = 1) -> OnnxEncoder:
    """As `load_onnx`, of the content of a file."""
    session = _session(data, source, threads)
    facts = _facts(session, source)
    _check_graph(session, facts, source)
    try:
        return OnnxEncoder(session, facts, weights_sha256=hashlib.sha256(data).hexdigest())
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error.message}", hint="export the encoder again") from error


def read_facts(file: str | Path) -> JsonDict:
    """The facts of an exported ONNX file, as `bundle.read_config` gives those of an encoder folder.

    ``weights_sha256`` is the hash of the file, so that the results of a quantised file are not mistaken for those of
    the encoder; ``source_sha256`` that of the encoder's weights.

    Raises:
        CheckpointError: as for `load_onnx`.
    """
    data = _bytes(file)
    return {**_facts(_session(data, file, 1), file), "weights_sha256": hashlib.sha256(data).hexdigest()}


def _bytes(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{file}: {error.strerror or error}", hint="name the file model.onnx or model.int8.onnx of an export"
        ) from error


def _session(data: bytes, source: str | Path, threads: int) -> Any:
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    ort = needed("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of errors of ONNX Runtime have no public base
        raise CheckpointError(
            f"{source}: not an ONNX model that ONNX Runtime {ort.__version__} reads: {str(error)[:200]}",
            hint="copy or export the file again; files of other projects are not encoders of imu-video",
        ) from error


def _facts(session: Any, source: str | Path) -> JsonDict:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    where = f"{source}: metadata {KEY!r}"
    facts = None if text is None else documents.parse_json(text, where, error=CheckpointError)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{source}: an ONNX model that imu-video did not export (no metadata {KEY!r}): its channels, units and "
            "rate are unknown",
            hint="`imu-video export ENCODER OUT --onnx` writes such a file; open others with onnxruntime itself",
        )
    if facts.get("format_version") != VERSION:
        raise CheckpointError(
            f"{source}: format version {facts.get('format_version')!r}, expected {VERSION}",
            hint="install the imu-video version that wrote the file, or export the encoder again",
        )
    documents.validate(_Facts, facts, where, error=CheckpointError, hint="export the encoder again")
    return facts


def _check_graph(session: Any, facts: JsonDict, source: str | Path) -> None:
    """Refuse a network that cannot be the one that its metadata describe."""
    inputs, outputs = ([tuple(one.shape) for one in side] for side in (session.get_inputs(), session.get_outputs()))
    channels, width = len(facts["input"].get("channels", IMU_CHANNELS)), facts["feature_dim"]
    classes = len(facts["head"]["classes"]) if facts.get("head") else 0
    described: list[list[tuple[int | None, ...]]] = [
        [(None, channels, None)],
        [(None, width), *([(None, classes)] if classes else [])],
    ]
    if not all(map(_fits, (inputs, outputs), described)):
        second = f" and (B, {classes})" if classes else ""
        raise CheckpointError(
            f"{source}: a network of {inputs} -> {outputs}, its metadata describe (B, {channels}, T) -> (B, {width})"
            f"{second}",
            hint="export the encoder again; metadata that were copied to another network are of no use",
        )


def _fits(found: list[tuple[Any, ...]], described: list[tuple[int | None, ...]]) -> bool:
    """Whether the shapes of tensors, whose lengths are numbers or names, are the described ones (None: any length)."""
    return len(found) == len(described) and all(
        len(one) in (0, len(expected))
        and not any(a != b for a, b in zip(one, expected, strict=False) if isinstance(a, int) and b)
        for one, expected in zip(found, described, strict=True)
    )
