"""README of an export, rendered from its facts; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imu_video.runtime.text import code, code_block, markdown

_PYTHON = """\
from imu_video.export import load_onnx

encoder = load_onnx("{file}")
features = encoder.encode(windows, rate_hz=100)  # any rate; resampled to {rate:g} Hz"""

_RUNTIME = """\
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
# (B, {channels}, {samples}) float32 at {rate:g} Hz, NaN = missing
(features,) = session.run(None, {{"imu": windows}})"""


TORCH = "torch"
"""Name of the encoder itself among the runtimes that were measured."""
_PROGRAM = """\
import torch

program = torch.export.load("{file}").module(check_guards=False)
features = program(windows)  # (B, {channels}, {samples}) float32, NaN = missing"""


def render(facts: Mapping[str, Any]) -> str:
    """Markdown of an export.

    Args:
        facts: content of export.json.
    """
    spec, files = facts["input"], facts["files"]
    names = {"channels": len(spec["channels"]), "rate": spec["rate_hz"], "file": next(iter(files))}
    length = "T" if facts["samples"] is None else facts["samples"]
    accepted = (
        f"Windows of {facts['least']} samples and more."
        if facts["samples"] is None
        else f"Windows of {length} samples."
    )
    rows = []
    for name, file in files.items():
        if "parity" in file:
            parity = file["parity"]
            lengths = ", ".join(map(str, parity["lengths"]))
            note = (
                f"float32; largest difference from torch {parity['difference']:.2g} ({parity['relative']:.2g} of the "
                f"largest feature) on {parity['windows']} windows of {lengths} samples"
            )
            if parity["jumps"]:
                note += f"; {parity['jumps']} features jumped, as they do in torch with rounding errors"
        else:
            note = (
                f"int8 ({file['scheme']}, {file['layers']} layers); cosine with float32 {file['mean_cosine']:.4f} "
                f"(smallest {file['cosine']:.4f}) on {file['windows']} windows"
            )
        rows.append(f"| {code(name)} | {file['bytes'] / 1000:,.0f} kB | {markdown(note)} |")
    table = "\n".join(["| file | size | check |", "| --- | --- | --- |", *rows])
    measured = facts["measured"]
    with_accuracy = any(one.get("accuracy") is not None for one in measured.values())
    head = ["runtime", "ms per window", *(["probe accuracy"] if with_accuracy else [])]
    speeds = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, one in measured.items():
        cells = [code(name), f"{one['ms']:.3g}"]
        if with_accuracy:
            cells.append("" if one.get("accuracy") is None else f"{100 * one['accuracy']:.1f} %")
        speeds.append("| " + " | ".join(cells) + " |")
    notes = "One window per call on one thread of the machine that wrote this page, preparation of the window included."
    if with_accuracy:
        notes += (
            " Probe: ridge on standardised features of the calibration windows, subjects left out in turn (5 folds); "
            "half of these windows gave the ranges of the int8 file."
        )
    onnx = [name for name in files if name.endswith(".onnx")]
    inputs = "\n".join(
        ["| channel | unit |", "| --- | --- |"]
        + [f"| {markdown(c)} | {markdown(spec['units'][c])} |" for c in spec["channels"]]
    )
    parts = [
        f"# Exported files of IMU encoder {code(facts['encoder']['name'])}",
        f"{facts['feature_dim']} features, {facts['parameters']:,} parameters, ONNX opset {facts['opset']}. Exported "
        f"by imu-video {markdown(facts['versions']['imu-video'])} from weights with sha256 "
        f"{code(facts['source_sha256'] or 'unknown')}.",
        table,
        "\n".join(speeds),
        notes,
        "## Input",
        f"`imu`: float32 (batch, {names['channels']}, samples) at {spec['rate_hz']:g} Hz, gravity "
        f"{markdown(spec['gravity'])}. {accepted} A value that is not finite is missing. Normalisation and masks are "
        "in the graph; resampling to this rate is not.",
        inputs,
        "## Use",
    ]
    if onnx:
        names["file"] = onnx[0]
        runtime = _RUNTIME if "head" not in facts else _RUNTIME.replace("(features,)", "features, probabilities")
        parts += [
            code_block(_PYTHON.format(**names), "python"),
            "With ONNX Runtime alone:",
            code_block(runtime.format(samples=length, **names), "python"),
        ]
    if "head" in facts:
        classes = ", ".join(code(name) for name in facts["head"]["classes"])
        parts.append(
            f"The second output, `probabilities`, has the classes {classes}, in this order; predictions below "
            f"{facts['head']['threshold']:.2f} are not accepted."
        )
    for name in files:
        if name.endswith(".pt2"):
            parts += [
                "With torch alone:",
                code_block(_PROGRAM.format(samples=length, **{**names, "file": name}), "python"),
            ]
    parts.append(
        "Lineage and licences are those of the encoder; they are in export.json and in the metadata of each ONNX file "
        "(key `imu_video`)."
    )
    return "\n\n".join(parts) + "\n"
