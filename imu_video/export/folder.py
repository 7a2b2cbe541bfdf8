"""Export of an encoder as a folder with ONNX files, verified before it is published; the graph is built in graph.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import CheckpointError, ConfigError
from imu_video.export.card import render
from imu_video.export.graph import OPSET, Graph, build_graph
from imu_video.export.int8 import Scheme, quantised
from imu_video.export.packages import needed
from imu_video.export.parity import Parity, check_parity, made_windows
from imu_video.export.runtime import FORMAT, KEY, VERSION, OnnxEncoder, open_onnx
from imu_video.runtime.files import atomic_folder, is_free
from imu_video.types import JsonDict
from imu_video.version import __version__

FLOAT_FILE, INT8_FILE, FACTS_FILE, CARD = "model.onnx", "model.int8.onnx", "export.json", "README.md"

COMPARED = 128
"""Most windows of recordings that are compared with torch, each complete and with four kinds of gaps."""


@dataclass(frozen=True, kw_only=True)
class Int8:
    """Int8 file of an export, and its features beside those of the float file.

    Args:
        bytes: size of the file.
        scheme: see `imu_video.export.int8.Scheme`.
        layers: number of quantised layers.
        windows: number of windows compared; none of them calibrated the file.
        cosine: smallest cosine similarity of the features of a window.
        mean_cosine: mean over the windows.
        difference: largest absolute difference of a feature.
        scale: largest absolute feature of the float file.
    """

    bytes: int
    scheme: Scheme
    layers: int
    windows: int
    cosine: float
    mean_cosine: float
    difference: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Result of an export.

    Args:
        folder: the folder written.
        bytes: size of the float file.
        samples: T if only windows of one length are accepted; None: any length.
        least: smallest T.
        parity: comparison of the float file with the encoder.
        int8: the int8 file; None if none was written.
    """

    folder: Path
    bytes: int
    samples: int | None
    least: int
    parity: Parity
    int8: Int8 | None


def export_onnx(
    bundle: EncoderBundle,
    out: str | Path,
    *,
    int8: bool = False,
    windows: np.ndarray | None = None,
    force: bool = False,
) -> Exported:
    """Write an encoder as ONNX, in float32 and optionally in int8.

    The files are loaded with ONNX Runtime and compared with the encoder before the folder gets its name.

    Args:
        bundle: the encoder.
        out: folder to write; must be absent or empty unless ``force`` is set.
        int8: also write an int8 file.
        windows: (N, C, T) windows of recordings with the channels, units and rate of the specification, NaN = missing;
            up to 128 of them are compared, and every other one calibrates the int8 file. None: made windows are
            compared, and the int8 file has int8 weights only.
        force: replace an earlier export.

    Raises:
        ConfigError: the extra `export` is not installed, the encoder cannot be exported, or fewer than two windows.
        ParityError: the file gives other features than the encoder; nothing is written.
        CheckpointError: ``out`` has other content, or exists and ``force`` is not set.

    Example:
        ``export_onnx(load_encoder("encoder"), "exported", int8=True, windows=recorded).int8.bytes``
    """
    target = Path(out)
    _refuse_overwrite(target, force)
    if windows is not None and (windows.ndim != 3 or len(windows) < 2):
        raise ConfigError(
            f"windows to calibrate: expected at least 2 windows (N, C, T), got shape {windows.shape}",
            hint="name a longer recording or a data folder",
        )
    needed("onnxruntime")
    graph = build_graph(bundle)
    if windows is not None and graph.samples is not None and windows.shape[2] != graph.samples:
        raise ConfigError(
            f"windows of {windows.shape[2]} samples, but this encoder exports for {graph.samples} samples only",
            hint=f"name recordings, which are cut to {bundle.spec.window_s:g} s, in place of a data folder",
        )
    facts = _facts(bundle, graph)
    content = {FLOAT_FILE: serialised(graph.model, {**facts, "precision": "float32"})}
    exported = open_onnx(content[FLOAT_FILE], source=FLOAT_FILE)
    some = None if windows is None else windows[:: -(-len(windows) // COMPARED)]
    parity = check_parity(bundle, exported, some, lengths=_lengths(bundle, graph))
    report: JsonDict = {FLOAT_FILE: {"bytes": len(content[FLOAT_FILE]), "parity": asdict(parity)}}
    small = None
    if int8:
        model, scheme, layers = quantised(graph, None if windows is None else windows[::2])
        content[INT8_FILE] = serialised(model, {**facts, "precision": f"int8 {scheme}"})
        other = open_onnx(content[INT8_FILE], source=INT8_FILE)
        small = _compare(exported, other, windows, bundle, graph, scheme, len(layers), len(content[INT8_FILE]))
        report[INT8_FILE] = asdict(small)
    with atomic_folder(target, replace=True) as temporary:
        for name, data in content.items():
            (temporary / name).write_bytes(data)
        stated = {**facts, "files": report}
        (temporary / FACTS_FILE).write_text(json.dumps(stated, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(render(stated), encoding="utf-8")
    return Exported(
        folder=target,
        bytes=len(content[FLOAT_FILE]),
        samples=graph.samples,
        least=graph.least,
        parity=parity,
        int8=small,
    )


def _refuse_overwrite(target: Path, force: bool) -> None:
    if is_free(target):
        return
    if not (target / FACTS_FILE).is_file() or not (target / FLOAT_FILE).is_file():
        raise CheckpointError(f"{target} exists and is not an ONNX export", hint="choose another output folder")
    if not force:
        raise CheckpointError(
            f"{target} already contains an export", hint="choose another folder, or replace it with --force"
        )


def _facts(bundle: EncoderBundle, graph: Graph) -> JsonDict:
    """What a user of the file must know, as JSON: the metadata of the model."""
    import torch

    return {
        "format": FORMAT,
        "format_version": VERSION,
        "encoder": bundle.encoder_config,
        "input": bundle.spec.model_dump(mode="json"),
        "feature_dim": bundle.feature_dim,
        "parts": {name: [columns.start, columns.stop] for name, columns in bundle.parts.items()},
        "parameters": sum(p.numel() for p in bundle.encoder.parameters()),
        "samples": graph.samples,
        "least": graph.least,
        "opset": OPSET,
        "source_sha256": bundle.weights_sha256,
        "versions": {
            "imu-video": __version__,
            "torch": torch.__version__,
            "onnx": needed("onnx").__version__,
            "onnxruntime": needed("onnxruntime").__version__,
        },
        "lineage": bundle.lineage,
    }


def serialised(model: Any, facts: Mapping[str, Any]) -> bytes:
    """Bytes of a model with its facts as metadata."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(facts, allow_nan=False)
    data: bytes = model.SerializeToString()
    return data


def _lengths(bundle: EncoderBundle, graph: Graph) -> tuple[int, ...]:
    """T of the made windows: that of training, shorter, longer, odd, and the smallest."""
    samples = bundle.spec.samples
    if graph.samples is not None:
        return (samples,)
    wanted = {samples, samples // 2, 2 * samples + 1, samples + 7, graph.least}
    return tuple(sorted(t for t in wanted if t >= graph.least))


def _compare(
    exported: OnnxEncoder,
    other: OnnxEncoder,
    windows: np.ndarray | None,
    bundle: EncoderBundle,
    graph: Graph,
    scheme: Scheme,
    layers: int,
    size: int,
) -> Int8:
    """Features of the int8 file beside those of the float file, on windows that did not calibrate it."""
    x = made_windows(bundle, bundle.spec.samples) if windows is None else windows[1::2]
    ours, theirs = (e.encode(x, rate_hz=bundle.spec.rate_hz, check_units=False) for e in (exported, other))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = (ours * theirs).sum(1) / np.maximum(lengths, 1e-12)
    if not np.isfinite(theirs).all():
        raise ConfigError(
            "the int8 file gives features that are not finite", hint="calibrate with more windows: --calibrate DATA"
        )
    return Int8(
        bytes=size,
        scheme=scheme,
        layers=layers,
        windows=len(x),
        cosine=float(cosine.min()),
        mean_cosine=float(cosine.mean()),
        difference=float(np.abs(ours - theirs).max()),
        scale=float(np.abs(ours).max()),
    )
