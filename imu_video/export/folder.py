"""Export of an encoder as a folder of files, verified before it is published; the graph is built in graph.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.head import Head
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.errors import CheckpointError, ConfigError, ParityError
from imu_video.export.calibration import Sampled
from imu_video.export.card import TORCH, render
from imu_video.export.classifier import check_head, head_facts, probe_accuracy, with_head
from imu_video.export.graph import OPSET, Graph, build_graph
from imu_video.export.int8 import Scheme, quantised
from imu_video.export.latency import timed
from imu_video.export.packages import needed
from imu_video.export.parity import Parity, check_parity, made_windows
from imu_video.export.program import open_program, program_bytes
from imu_video.export.runtime import FORMAT, KEY, VERSION, OnnxEncoder, open_onnx
from imu_video.runtime.files import atomic_folder, is_free
from imu_video.types import JsonDict
from imu_video.version import __version__

FLOAT_FILE, INT8_FILE, PROGRAM_FILE = "model.onnx", "model.int8.onnx", "model.pt2"
FACTS_FILE, CARD = "export.json", "README.md"

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
        bytes: size of each file written.
        samples: T if only windows of one length are accepted; None: any length.
        least: smallest T.
        parity: comparison of the float file with the encoder.
        int8: the int8 file; None if none was written.
    """

    folder: Path
    bytes: dict[str, int]
    samples: int | None
    least: int
    parity: Parity
    int8: Int8 | None


def export_onnx(
    bundle: EncoderBundle,
    out: str | Path,
    *,
    onnx: bool = True,
    int8: bool = False,
    program: bool = False,
    windows: np.ndarray | Sampled | None = None,
    head: Head | None = None,
    force: bool = False,
) -> Exported:
    """Write an encoder for other runtimes: as ONNX in float32, in int8, and as a program of torch.export.

    The files are loaded again and compared with the encoder before the folder gets its name.

    Args:
        bundle: the encoder.
        out: folder to write; must be absent or empty unless ``force`` is set.
        onnx: write the float32 file.
        int8: write an int8 file.
        program: write a program that ``torch.export.load`` reads.
        windows: (N, C, T) windows of recordings with the channels, units and rate of the specification, NaN = missing,
            or `Sampled` ones; up to 128 of them are compared, and every other one calibrates the int8 file. None: made
            windows are compared, and the int8 file has int8 weights only. With labels and subjects, the accuracy of a
            probe before and after the export is stated (`probe_accuracy`).
        head: a classifier on the features of this encoder: a second output of the ONNX files, its probabilities.
        force: replace an earlier export.

    Raises:
        ConfigError: the extra `export` is not installed, the encoder cannot be exported, no file was chosen, fewer
            than two windows, or a head of another encoder.
        ParityError: the file gives other features than the encoder; nothing is written.
        CheckpointError: ``out`` has other content, or exists and ``force`` is not set.

    Example:
        ``export_onnx(load_encoder("encoder"), "exported", int8=True, windows=recorded).int8.bytes``
    """
    target = Path(out)
    if not (onnx or int8 or program):
        raise ConfigError("no format was chosen", hint="onnx=True, int8=True or program=True")
    _refuse_overwrite(target, force)
    sampled = windows if isinstance(windows, Sampled) else None
    x = windows.x if isinstance(windows, Sampled) else windows
    if x is not None and (x.ndim != 3 or len(x) < 2):
        raise ConfigError(
            f"windows to calibrate: expected at least 2 windows (N, C, T), got shape {x.shape}",
            hint="name a longer recording or a data folder",
        )
    if head is not None:
        check_head(bundle, head)
    needed("onnxruntime")
    graph = build_graph(bundle)
    if x is not None and graph.samples is not None and x.shape[2] != graph.samples:
        raise ConfigError(
            f"windows of {x.shape[2]} samples, but this encoder exports for {graph.samples} samples only",
            hint=f"name recordings, which are cut to {bundle.spec.window_s:g} s, in place of a data folder",
        )
    facts = _facts(bundle, graph) | ({} if head is None else {"head": head_facts(head)})

    def packed(model: Any, precision: str) -> bytes:
        return serialised(model if head is None else with_head(model, head), {**facts, "precision": precision})

    # The float file is made in any case: it is what the features of the int8 file are compared with.
    content = {FLOAT_FILE: packed(graph.model, "float32")}
    exported = open_onnx(content[FLOAT_FILE], source=FLOAT_FILE)
    some = None if x is None else x[:: -(-len(x) // COMPARED)]
    lengths = _lengths(bundle, graph)
    parity = check_parity(bundle, exported, some, lengths=lengths)
    opened: dict[str, WindowEncoder] = {TORCH: bundle, FLOAT_FILE: exported}
    report: JsonDict = {FLOAT_FILE: {"bytes": len(content[FLOAT_FILE]), "parity": asdict(parity)}}
    if head is not None:
        report[FLOAT_FILE]["probabilities"] = _head_difference(bundle, exported, head, x)
    small = None
    if int8:
        model, scheme, layers = quantised(graph, None if x is None else x[::2])
        content[INT8_FILE] = packed(model, f"int8 {scheme}")
        other = open_onnx(content[INT8_FILE], source=INT8_FILE)
        small = _compare(exported, other, x, bundle, graph, scheme, len(layers), len(content[INT8_FILE]))
        opened[INT8_FILE], report[INT8_FILE] = other, asdict(small)
    if program:
        content[PROGRAM_FILE] = program_bytes(graph, facts)
        loaded = open_program(content[PROGRAM_FILE], bundle)
        found = check_parity(bundle, loaded, some, lengths=lengths)
        opened[PROGRAM_FILE] = loaded
        report[PROGRAM_FILE] = {"bytes": len(content[PROGRAM_FILE]), "parity": asdict(found)}
    if not onnx:
        del content[FLOAT_FILE], report[FLOAT_FILE], opened[FLOAT_FILE]
    stated = {**facts, "files": report, "measured": _measured(bundle, opened, sampled, x)}
    with atomic_folder(target, replace=True) as temporary:
        for name, data in content.items():
            (temporary / name).write_bytes(data)
        (temporary / FACTS_FILE).write_text(json.dumps(stated, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(render(stated), encoding="utf-8")
    return Exported(
        folder=target,
        bytes={name: len(data) for name, data in content.items()},
        samples=graph.samples,
        least=graph.least,
        parity=parity,
        int8=small,
    )


def _head_difference(bundle: EncoderBundle, exported: OnnxEncoder, head: Head, x: np.ndarray | None) -> float:
    """Largest difference of a probability from the head on torch's features.

    Raises:
        ParityError: above 1e-3.
    """
    windows = made_windows(bundle, bundle.spec.samples) if x is None else x
    rate = bundle.spec.rate_hz
    ours = head.probabilities(bundle.encode(windows, rate_hz=rate, check_units=False))
    theirs = exported.probabilities(windows, rate_hz=rate, check_units=False)
    apart = float(np.abs(ours - theirs).max())
    if not apart <= 1e-3:
        raise ParityError(
            f"parity failed: probabilities of the head differ by {apart:.2g} (allowed 1e-3); nothing was written",
            hint="fit the head again with stronger regularisation",
        )
    return apart


def _measured(
    bundle: EncoderBundle, opened: Mapping[str, WindowEncoder], sampled: Sampled | None, x: np.ndarray | None
) -> JsonDict:
    """Milliseconds per window on one thread, and the accuracy of a probe where there are labels, of each file."""
    import torch

    windows = made_windows(bundle, bundle.spec.samples) if x is None else x
    rate, threads = bundle.spec.rate_hz, torch.get_num_threads()
    found: dict[str, dict[str, float | None]] = {}
    torch.set_num_threads(1)
    try:
        for name, encoder in opened.items():

            def alone(encoder: WindowEncoder = encoder) -> np.ndarray:
                return encoder.encode(windows[:1], rate_hz=rate, check_units=False)

            found[name] = {"ms": round(1000 * timed(alone, seconds=0.2), 4)}
            if sampled is not None:
                features = encoder.encode(sampled.x, rate_hz=rate, check_units=False)
                accuracy = probe_accuracy(features, sampled.labels, sampled.subjects)
                found[name]["accuracy"] = None if accuracy is None else round(accuracy, 4)
    finally:
        torch.set_num_threads(threads)
    return found


def _refuse_overwrite(target: Path, force: bool) -> None:
    if is_free(target):
        return
    files = (FLOAT_FILE, INT8_FILE, PROGRAM_FILE)
    if not (target / FACTS_FILE).is_file() or not any((target / name).is_file() for name in files):
        raise CheckpointError(f"{target} exists and is not an export", hint="choose another output folder")
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
