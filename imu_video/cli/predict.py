"""The commands `imu-video encode` and `imu-video predict`: an exported encoder on recordings; options and printing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imu_video.cli.options import Plugins, load_plugins, writable
from imu_video.errors import ConfigError
from imu_video.runtime import console

if TYPE_CHECKING:
    from imu_video.bundle.head import Classifier
    from imu_video.predict.page import Predicted
    from imu_video.predict.sources import Windows

ABSTAIN = 0.5
"""Smallest probability of a zero-shot prediction by default: a fitted head has a threshold of its own."""

Encoder = Annotated[
    str, typer.Argument(help="Encoder folder, shipped name (imu-video/small), or owner/name on the hub.")
]
Source = Annotated[
    str, typer.Argument(help="Recording (a file), folder with a dataset.yaml, or data folder with shards.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.05, help="Window length; default: that of the training windows.")
]
Stride = Annotated[
    float | None, typer.Option("--stride", min=0.01, help="Seconds between window starts; default: see docs.")
]
Placement = Annotated[
    str | None, typer.Option("--placement", help="Read only this device; names the device of a single file.")
]


def encode(
    encoder: Encoder,
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Table to write: .parquet or .csv.")] = Path("features.parquet"),
    seconds: Seconds = None,
    stride: Stride = None,
    placement: Placement = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Windows per forward pass.")] = 256,
    mean_devices: Annotated[
        bool, typer.Option("--mean-devices", help="One row per window: the mean over its devices.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Compute the features of recordings with an exported encoder: one row per window and device, or per window."""
    load_plugins(plugin)
    from imu_video.bundle.encoder import load_encoder
    from imu_video.predict.sources import open_windows
    from imu_video.predict.table import write_features

    writable(out, example="features.parquet")
    bundle = load_encoder(encoder)
    blocks = open_windows(source, bundle.spec, seconds=seconds, stride_s=stride, placement=placement)
    rows = write_features(bundle, blocks, out, batch_size=batch_size, mean_devices=mean_devices, note=_notes)
    console.say(f"wrote {out}: {rows} rows, {bundle.feature_dim} features")


def predict(
    encoder: Encoder,
    source: Source,
    head: Annotated[Path | None, typer.Option("--head", help="Head folder, from `imu-eval fit-head`.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Zero-shot: name of an activity; repeat for each activity.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Zero-shot: file with one activity per line.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the predictions: .csv, .json or .html.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.05, help="Window length, with --text; default: that of the training windows."),
    ] = None,
    stride: Stride = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=0.999, help="Abstain below this probability; default: the head's, or 0.5."
        ),
    ] = None,
    placement: Placement = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """Predict activities over time with a fitted head or zero-shot by text: a table, JSON or an HTML page."""
    load_plugins(plugin)
    from imu_video.bundle.encoder import load_encoder
    from imu_video.bundle.head import load_head
    from imu_video.predict.run import predict_source, write_predictions

    if out is not None and out.suffix.lower() not in (".csv", ".json", ".html"):
        raise ConfigError(
            f"--out {out}: expected a name that ends in .csv, .json or .html", hint="--out activities.html"
        )
    if out is not None:
        writable(out, example="activities.html")
    prompts = [*(text or ()), *(_lines(labels) if labels is not None else ())]
    if (head is None) == (not prompts):
        given = "both" if head is not None else "neither"
        raise ConfigError(
            f"a prediction needs a fitted head or the names of activities, got {given}",
            hint="--head HEAD, or --text walking --text sitting",
        )
    if head is not None and seconds is not None:
        raise ConfigError(
            f"--seconds {seconds:g}: windows have the length that the head was fitted on",
            hint="leave out --seconds, or fit a head on a data folder with windows of this length",
        )
    bundle = load_encoder(encoder)
    fitted: Classifier
    if head is not None:
        fitted = load_head(head, encoder=bundle)
    else:
        fitted = bundle.text_head.classifier(prompts, seconds=seconds or bundle.spec.window_s, threshold=ABSTAIN)
    predicted = list(
        predict_source(
            bundle,
            fitted,
            source,
            stride_s=stride,
            threshold=threshold,
            placement=placement,
            note=None if as_json else _notes,
        )
    )
    if as_json:
        console.say_json(
            [
                {
                    "recording": one.timeline.recording,
                    "notes": list(one.notes),
                    "intervals": [i.plain() for i in one.timeline.intervals],
                }
                for one in predicted
            ]
        )
    else:
        rows = [
            (one.timeline.recording, f"{i.start:.2f}", f"{i.end:.2f}", i.label or "(none)", f"{i.probability:.2f}")
            for one in predicted
            for i in one.timeline.intervals
        ]
        console.table(("recording", "start_s", "end_s", "activity", "probability"), rows)
        _notes_of_predictions(predicted)
    if out is not None:
        write_predictions(predicted, fitted, out, title=f"Activities in {Path(source).name}", threshold=threshold)
        if not as_json:
            console.say(f"wrote {out}")


def _lines(file: Path) -> list[str]:
    """Names of activities in a text file, one per line; lines that begin with # are comments."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--labels {file}: cannot be read: {error}", hint="a UTF-8 text file with one activity per line"
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ConfigError(f"--labels {file}: no activities", hint="one activity per line, such as walking")
    return names


def _notes(windows: Windows) -> None:
    if windows.recording is not None:
        for note in windows.notes:
            console.say(f"note: {windows.recording.name}: {note}")


def _notes_of_predictions(predicted: list[Predicted]) -> None:
    """Print the devices that were used and placements unknown to the head; equal notes of recordings are one line."""
    recordings: dict[str, list[str]] = {}
    for one in predicted:
        # Notes about the recording itself were printed when it was read.
        printed = () if one.recording is None else one.recording.notes
        for note in one.notes:
            if note not in printed:
                recordings.setdefault(note, []).append(one.timeline.recording)
    for note, names in recordings.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.say(f"note: {names[0]}{more}: {note}")
