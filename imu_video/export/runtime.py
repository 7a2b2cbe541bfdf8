"""Features from an exported ONNX file, with ONNX Runtime and without torch's network; writes no file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.bundle.input_spec import InputSpec
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.errors import CheckpointError, ConfigError, RecordingError
from imu_video.export.packages import needed
from imu_video.runtime import documents
from imu_video.types import JsonDict

KEY = "imu_video"
"""Entry of the model's metadata with the facts of the encoder, as JSON."""
FORMAT, VERSION = "imu-video-onnx", 1
_REQUIRED = ("encoder", "input", "feature_dim", "lineage", "precision", "samples", "least")


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
        features: np.ndarray = self.session.run(None, {self.session.get_inputs()[0].name: np.ascontiguousarray(x)})[0]
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
            hint="copy or export the file again",
        ) from error


def _facts(session: Any, source: str | Path) -> JsonDict:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    where = f"{source}: metadata {KEY!r}"
    facts = None if text is None else documents.parse_json(text, where, error=CheckpointError)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{source}: no metadata of imu-video (key {KEY!r})",
            hint="`imu-video export ENCODER OUT --onnx` writes such a file",
        )
    if facts.get("format_version") != VERSION:
        raise CheckpointError(
            f"{source}: format version {facts.get('format_version')!r}, expected {VERSION}",
            hint="install the imu-video version that wrote the file, or export the encoder again",
        )
    missing = [key for key in _REQUIRED if key not in facts]
    wrong = [key for key in ("encoder", "input", "lineage") if key in facts and not isinstance(facts[key], dict)]
    if missing or wrong:
        raise CheckpointError(
            f"{source}: metadata: {'no key' if missing else 'not a mapping of keys:'} {(missing or wrong)[0]!r}",
            hint="export the encoder again",
        )
    return facts
