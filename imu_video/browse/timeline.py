"""One recording of a data folder on one time line as JSON: streams, thumbnails, labels, windows and flags; no HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imu_video.errors import ShardError, nearest
from imu_video.modalities import decode_mp4, modality_of
from imu_video.shards.left_out import read_dropped, read_left_out
from imu_video.shards.quality_report import read_report
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.pipeline import SampleReader
from imu_video.shards.schema import Index
from imu_video.types import JsonDict

MOST_POINTS = 4000
"""Largest number of points per trace of a recording: enough for a zoom of about three."""
MOST_CLIPS = 400
"""Largest number of clips that are decoded; of longer recordings every n-th."""
_THUMBNAIL = 72  # pixels
_QUALITY = 60


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A window of the recording: row of a split."""

    split: str
    row: int
    start: float


def collect_recording(index: Index, recording: str, *, thumbnails: int = 120) -> JsonDict:
    """The content of the page of one recording as JSON.

    Args:
        index: a loaded index.
        recording: name of a recording of the folder.
        thumbnails: largest number of thumbnails.

    Returns:
        ``title``, ``start`` and ``seconds`` of the part with windows, ``devices`` (traces by channel),
        ``cameras`` (thumbnails and motion), ``windows``, ``dropped``, ``labels``, ``findings``, ``sync``, ``offset_s``.

    Raises:
        ShardError: no such recording; the message suggests the closest name.

    Example:
        >>> from imu_video.shards import load_index
        >>> index = load_index("data/demo")
        >>> name = open_columns(index, "train").recordings[0]
        >>> sorted(collect_recording(index, name, thumbnails=4)["devices"][0])
        ['placement', 'step_s', 'values']
    """
    opened = {split: open_columns(index, split) for split in index.splits}
    rows = sorted(
        (
            _Row(split=split, row=row, start=float(columns.start[row]))
            for split, columns in opened.items()
            for row, name in enumerate(columns.recordings)
            if name == recording
        ),
        key=lambda one: one.start,
    )
    dropped: list[JsonDict] = [
        {"start": start, "reason": reason}
        for reason, starts in read_dropped(index.root).get(recording, {}).items()
        for start in starts
    ]
    if not rows:
        known = {name for columns in opened.values() for name in columns.recordings}
        hint = "`imu-video inspect DATA` lists the contents of the folder"
        if dropped:
            reasons = sorted({str(one["reason"]) for one in dropped})
            hint = f"all of its {len(dropped)} windows were dropped: {', '.join(reasons)}"
        unread = [row.reason for row in read_left_out(index.root) if row.recording == recording]
        if unread:
            raise ShardError(f"{index.root}: recording {recording!r} was left out: {unread[0]}", hint=hint)
        raise ShardError(
            f"{index.root} has no window of a recording {recording!r}{'' if dropped else nearest(recording, known)}",
            hint=hint,
        )
    moments = [one.start for one in rows] + [float(one["start"]) for one in dropped]
    begin, end = min(moments), max(moments) + index.window_s
    cameras = [stream for stream in index.streams if modality_of(stream).drawing == "frames"]
    report = read_report(index.root)
    columns = opened[rows[0].split]
    return {
        "title": f"{index.dataset}: {recording}",
        "recording": recording,
        "subject": columns.subjects[rows[0].row],
        "tags": columns.tags[rows[0].row],
        "start": begin,
        "seconds": end - begin,
        "window_s": index.window_s,
        "channels": list(index.channels),
        "units": dict(index.units),
        "devices": list(_devices(index, opened, rows, begin, end)),
        "cameras": [_camera(index, stream, rows, thumbnails) for stream in cameras],
        "windows": [_window(opened[one.split], one, cameras) for one in rows],
        "dropped": sorted(dropped, key=lambda one: float(one["start"])),
        "labels": _labels(opened, rows, index.window_s),
        "findings": [
            f"{one.part}: {one.reason}, {one.seconds:g} s, {one.windows} windows, worst {one.value:g} {one.unit} "
            f"(threshold {one.threshold:g}), policy {one.policy}"
            for one in (report.findings if report else ())
            if one.recording == recording
        ],
        "sync": next((s.model_dump() for s in (report.sync if report else ()) if s.recording == recording), None),
        "offset_s": declared_offset(index.build.provenance.get("declaration", {}), recording),
    }


def declared_offset(declaration: Any, recording: str) -> float | None:
    """The offset of a recording's video in the `dataset.yaml` that the folder was built from; None if not a number.

    Example:
        >>> declared_offset({"files": {"video": "{subject}.mp4", "offset_s": {"anna": 2.5}}}, "anna")
        2.5
    """
    if not isinstance(declaration, dict):
        return None
    files = declaration.get("files")
    if isinstance(files, dict):
        found = files.get("offset_s")
        found = found.get(recording) if isinstance(found, dict) else found
    else:
        entries = [e for e in declaration.get("recordings") or () if e.get("name") == recording]
        video = entries[0].get("video") if entries else None
        found = video.get("offset_s") if isinstance(video, dict) else None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _devices(
    index: Index, opened: dict[str, Columns], rows: Sequence[_Row], begin: float, end: float
) -> Iterator[JsonDict]:
    """Traces of each device on one grid; overlapping windows have the same values."""
    length = max(1, round((end - begin) * index.rate_hz))
    step = -(-length // MOST_POINTS)
    for number, placement in enumerate(index.placements):
        grid = np.full((len(index.channels), -(-length // step)), np.nan, np.float32)
        for one in rows:
            columns = opened[one.split]
            if not columns.present[one.row, columns.placements.index(placement)]:
                continue
            first = round((one.start - begin) * index.rate_hz)
            # Samples at multiples of the step of the whole grid, whatever the start of the window is.
            values = columns.imu[one.row, number, :, -first % step :: step]
            at = -(-first // step)
            room = grid[:, at : at + values.shape[1]]
            np.copyto(room, values[:, : room.shape[1]], where=np.isfinite(values[:, : room.shape[1]]))
        if np.isfinite(grid).any():
            yield {"placement": placement, "step_s": step / index.rate_hz, "values": _json_rows(grid)}


def _json_rows(grid: np.ndarray) -> list[list[float | None]]:
    return [[v if np.isfinite(v) else None for v in row] for row in np.round(grid.astype(float), 3).tolist()]


def _camera(index: Index, stream: str, rows: Sequence[_Row], thumbnails: int) -> JsonDict:
    """Thumbnails and motion of the clips of a camera: mean absolute difference of neighbouring frames, 0 .. 255."""
    fps = float(index.streams[stream].fps or 1.0)
    readers = {split: SampleReader(index, split, {stream}) for split in {one.split for one in rows}}
    pictures, motion = [], []
    chosen = rows[:: -(-len(rows) // MOST_CLIPS)]
    each = max(1, -(-len(chosen) // thumbnails))
    reached = -np.inf  # overlapping windows show the same frames
    for number, one in enumerate(chosen):
        data = readers[one.split][one.row].streams.get(stream)
        if data is None:
            continue
        frames = decode_mp4(data)
        times = one.start + np.arange(len(frames)) / fps
        if number % each == 0:
            pictures.append({"time": round(float(times[0]), 3), "jpeg": _jpeg(frames[0])})
        grey = frames.astype(np.int16).mean(axis=3)
        moved = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
        for time, value in zip((times[1:] + times[:-1]) / 2, moved, strict=True):
            if time > reached + 0.5 / fps:
                motion.append([round(float(time), 3), round(float(value), 3)])
                reached = float(time)
    return {"name": stream.partition(".")[2] or "video", "fps": fps, "pictures": pictures, "motion": motion}


def _jpeg(frame: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


def _window(columns: Columns, one: _Row, cameras: Sequence[str]) -> JsonDict:
    row = one.row
    return {
        "key": columns.keys[row],
        "split": one.split,
        "start": one.start,
        "label": columns.labels[row],
        "flags": list(columns.flags[row]),
        "devices": [p for p, there in zip(columns.placements, columns.present[row], strict=True) if there],
    }


def _labels(opened: dict[str, Columns], rows: Sequence[_Row], window_s: float) -> list[JsonDict]:
    """Runs of windows with one label; a run ends where windows are missing."""
    runs: list[JsonDict] = []
    for one in rows:
        label = opened[one.split].labels[one.row]
        if label is None:
            continue
        if runs and runs[-1]["label"] == label and one.start <= runs[-1]["end"] + 1e-6:
            runs[-1]["end"] = one.start + window_s
        else:
            runs.append({"label": label, "start": one.start, "end": one.start + window_s})
    return runs
