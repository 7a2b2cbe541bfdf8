"""Predictions of a source with an encoder and a head, and their files; the arithmetic is in timeline.py."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from imu_video.bundle.head import Classifier
from imu_video.errors import ConfigError
from imu_video.predict.page import Predicted, render
from imu_video.predict.sources import Windows, is_data_folder, open_windows
from imu_video.predict.timeline import timeline
from imu_video.runtime.files import write_atomic
from imu_video.types import Recording

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle

ZERO_SHOT = "Zero-shot by text: no labelled window of these activities was used, and the probabilities are"


def predict_source(
    bundle: EncoderBundle,
    head: Classifier,
    source: str | Path,
    *,
    stride_s: float | None = None,
    threshold: float | None = None,
    placement: str | None = None,
    note: Callable[[Windows], None] | None = None,
) -> Iterator[Predicted]:
    """Predict the activities of every recording of a source.

    Windows have the length that the head was fitted on. Devices of a recording are combined; if the head knows some of
    their placements, only those are used.

    Args:
        bundle: the encoder.
        head: fitted on its features (`load_head`), or comparing them with prompts (`TextHead.classifier`).
        source: see `open_windows`.
        stride_s: distance of window starts; default: half a window.
        threshold: smallest probability of a prediction; None: that of the head.
        placement: the only device that is used.
        note: called with every block of windows first.

    Raises:
        CheckpointError: a head for the features of another encoder.

    Example:
        >>> import tempfile
        >>> from imu_video import load_encoder
        >>> time = np.arange(1000) / 50
        >>> rows = np.stack([time, np.sin(time), np.cos(time), 9.8 + np.sin(time)], axis=1)
        >>> file = Path(tempfile.mkdtemp()) / "walk.csv"
        >>> np.savetxt(file, rows, delimiter=",", header="time_s,acc_x,acc_y,acc_z", comments="")
        >>> encoder = load_encoder("imu-video/small")
        >>> head = encoder.text_head.classifier(["walking", "lying"], seconds=5.0)
        >>> [one.timeline.recording for one in predict_source(encoder, head, file)]
        ['walk']
    """
    head.check_encoder(bundle)
    stored = is_data_folder(source)
    seconds = None if stored else head.spec.seconds
    stride = stride_s if stored or stride_s is not None else head.spec.seconds / 2
    held: list[tuple[Windows, np.ndarray]] = []
    for windows in open_windows(source, bundle.spec, seconds=seconds, stride_s=stride, placement=placement):
        if note is not None:
            note(windows)
        features = bundle.encode(windows.x, rate_hz=windows.rate_hz, channels=windows.channels)
        held.append((windows, head.probabilities(features)))
        if windows.recording is not None:
            yield from _by_recording(held, head, threshold, windows.recording)
            held = []
    if held:
        yield from _by_recording(held, head, threshold, None)


def _by_recording(
    held: Sequence[tuple[Windows, np.ndarray]], head: Classifier, threshold: float | None, recording: Recording | None
) -> Iterator[Predicted]:
    facts = {
        name: np.concatenate([windows.facts[name] for windows, _ in held])
        for name in ("subject", "session", "recording", "placement")
    }
    start = np.concatenate([windows.start for windows, _ in held])
    probabilities = np.concatenate([p for _, p in held])
    known = np.isin(facts["placement"], head.spec.placements)
    pairs = list(dict.fromkeys(zip(facts["subject"].tolist(), facts["recording"].tolist(), strict=True)))
    names = [name for _, name in pairs]
    for subject, name in pairs:
        # Names of recordings are unique in a folder that was built; merged by other tools, two subjects may share one.
        rows = (facts["recording"] == name) & (facts["subject"] == subject)
        # A device that the head was fitted on is better evidence than others; without one, all are used.
        used = rows & known if (rows & known).any() else rows
        line = timeline(
            head,
            probabilities[used],
            start[used],
            recording=name if names.count(name) == 1 else f"{subject}/{name}",
            seconds=held[0][0].seconds,
            threshold=threshold,
        )
        devices = sorted(set(facts["placement"][used].tolist()))
        notes = [*(recording.notes if recording is not None else ()), f"devices: {', '.join(devices)}"]
        if head.spec.placements and not (rows & known).any():
            notes.append(f"the head was fitted on other placements: {', '.join(head.spec.placements)}")
        if not math.isclose(held[0][0].seconds, head.spec.seconds, rel_tol=0.01):
            notes.append(
                f"windows of {held[0][0].seconds:g} s, but predictions are meant for windows of {head.spec.seconds:g} s"
            )
        yield Predicted(timeline=line, recording=recording, notes=notes)


def write_predictions(
    predicted: Sequence[Predicted], head: Classifier, out: Path, *, title: str, threshold: float | None = None
) -> None:
    """Write predictions atomically: intervals as CSV, moments and intervals as JSON, or an HTML page.

    Args:
        predicted: from `predict_source`.
        head: the head.
        out: file that ends in ``.csv``, ``.json`` or ``.html``.
        title: heading of the page.
        threshold: that of the predictions, for the page.

    Raises:
        ConfigError: another ending.

    Example:
        >>> import tempfile
        >>> from imu_video.bundle.head import Head, HeadSpec
        >>> spec = HeadSpec(classes=("sit", "walk"), feature_dim=1, seconds=2.0)
        >>> head = Head(spec=spec, weight=np.zeros((1, 2)), bias=np.zeros(2), encoder="")
        >>> line = timeline(head, np.array([[0.1, 0.9]]), np.array([0.0]), recording="r", seconds=2.0)
        >>> out = Path(tempfile.mkdtemp()) / "activities.csv"
        >>> write_predictions([Predicted(timeline=line)], head, out, title="Activities")
        >>> out.read_text().splitlines()[1]
        'r,0.000000,2.000000,walk,0.9000'
    """
    used = head.spec.threshold if threshold is None else threshold
    ending = out.suffix.lower()
    if ending == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("recording", "start_s", "end_s", "activity", "probability"))
        for one in predicted:
            for i in one.timeline.intervals:
                writer.writerow(
                    (one.timeline.recording, f"{i.start:.6f}", f"{i.end:.6f}", i.label or "", f"{i.probability:.4f}")
                )
        content = text.getvalue()
    elif ending == ".json":
        content = json.dumps(
            {
                "classes": list(head.spec.classes),
                "threshold": used,
                "recordings": [
                    {
                        "recording": one.timeline.recording,
                        "notes": list(one.notes),
                        "intervals": [i.plain() for i in one.timeline.intervals],
                        "start_s": one.timeline.start.round(6).tolist(),
                        "end_s": (one.timeline.start + one.timeline.step_s).round(6).tolist(),
                        "probabilities": one.timeline.probabilities.round(4).tolist(),
                    }
                    for one in predicted
                ],
            },
            indent=1,
        )
    elif ending == ".html":
        facts = [f"Predictions below a probability of {used:.2f} are left out."] if used else []
        if "zero_shot" in head.evidence:
            facts.append(f"{ZERO_SHOT} {_calibration(head)} ({head.evidence['zero_shot']}).")
        accuracy = head.evidence.get("accuracy")
        if isinstance(accuracy, dict) and _is_number(accuracy.get("value")):
            low, high = accuracy.get("low"), accuracy.get("high")
            # Subjects that agree exactly have no interval.
            interval = f" [{low:.2f}, {high:.2f}]" if _is_number(low) and _is_number(high) else ""
            facts.append(
                f"On {accuracy.get('subjects')} subjects that the head was not fitted on: accuracy "
                f"{accuracy['value']:.2f}{interval} ({head.evidence.get('dataset')})."
            )
        content = render(predicted, head.spec.classes, title=title, facts=facts)
    else:
        raise ConfigError(f"{out}: expected a name that ends in .csv, .json or .html", hint="--out activities.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, content)


def _calibration(head: Classifier) -> str:
    """What the probabilities of prompts are calibrated on."""
    found = head.evidence.get("calibration")
    if not isinstance(found, dict):
        return "not calibrated"
    names = ", ".join(str(one["dataset"]) for one in found["data"])
    return (
        f"calibrated on validation subjects of the encoder's training data ({names}; expected calibration error "
        f"{found['ece']:.2f} there), not on this recording"
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether a fact of a head's config, which anyone may edit, can be shown as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
