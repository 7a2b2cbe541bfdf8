"""Recordings as a BIDS-Motion dataset; videos and skeletons are not written.

Each device is a tracking system of its own, because devices have clocks of their own: its samples stand in
``*_motion.tsv`` with their times in a LATENCY channel, and its start in ``acq_time`` of ``*_scans.tsv``. Recordings on
a clock that starts at 0 are dated from 1900 on, which is how BIDS marks dates that are not real.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.runtime.files import atomic_folder, is_free, write_atomic
from imu_video.types import ImuStream, Recording
from imu_video.version import __version__

_BIDS = "1.9.0"
_KINDS = {"acc": ("ACCEL", "m/s^2"), "gyr": ("GYRO", "rad/s")}
_EARLIEST_UTC = 1e9  # a clock below 2001 is no date
_NO_DATE = datetime(1900, 1, 1, tzinfo=UTC)


def write_bids(recordings: Iterable[Recording], root: Path, *, name: str, task: str, licence: str = "n/a") -> int:
    """Write recordings as a new BIDS-Motion dataset, which `BidsMotion` reads back.

    Args:
        recordings: with distinct names; their devices, labelled segments and tags are written.
        root: folder that does not exist yet.
        name: of the dataset.
        task: what the subjects did (``daily activities``); its letters and digits become the entity ``task``.
        licence: of the recordings.

    Returns:
        Number of recordings.

    Raises:
        ConfigError: the folder exists, or no recording was given.
        RecordingError: two subjects, sessions or placements that become one label, or a task without letters.

    Example:
        >>> import tempfile
        >>> times = np.arange(100) / 50
        >>> stream = ImuStream(placement="left_wrist", times=times, values=np.ones((6, 100)))
        >>> recording = Recording(dataset="own", subject="s01", name="walk", imu=(stream,))
        >>> root = Path(tempfile.mkdtemp()) / "bids"
        >>> write_bids([recording], root, name="Own", task="walking")
        1
        >>> sorted(p.name for p in root.glob("sub-s01/ses-1/motion/*"))[1]
        'sub-s01_ses-1_task-walking_tracksys-leftWrist_run-1_motion.json'
    """
    if not is_free(root):
        raise ConfigError(f"{root} exists", hint="name a folder that does not exist yet")
    label = _label(task, "task")
    count = 0
    with atomic_folder(root) as part:
        writer = _Writer(part, task, label)
        for recording in recordings:
            writer.add(recording)
            count += 1
        if not count:
            raise ConfigError("no recording to export", hint="name subjects that the dataset has")
        writer.finish(name, licence)
    return count


class _Writer:
    def __init__(self, root: Path, task: str, label: str) -> None:
        self._root, self._task, self._label = root, task, label
        self._runs: dict[tuple[str, str], int] = {}
        self._scans: dict[Path, list[dict[str, str]]] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self._tags: dict[str, list[Mapping[str, str]]] = {}

    def add(self, recording: Recording) -> None:
        subject = self._distinct(recording.subject, "sub")
        session = self._distinct(recording.session, f"ses of {subject}")
        run = self._runs[subject, session] = self._runs.get((subject, session), 0) + 1
        self._tags.setdefault(subject, []).append(recording.tags)
        stem = f"sub-{subject}_ses-{session}"
        visit = self._root / f"sub-{subject}" / f"ses-{session}"
        rows = self._scans.setdefault(visit / f"{stem}_scans.tsv", [])
        own: dict[str, str] = {}
        for stream in recording.imu:
            system = _camel(stream.placement)
            if system in own:
                raise RecordingError(
                    f"placements {own[system]!r} and {stream.placement!r} of {recording.name!r} both become "
                    f"tracksys-{system}"
                )
            own[system] = stream.placement
            base = visit / "motion" / f"{stem}_task-{self._label}_tracksys-{system}_run-{run}"
            base.parent.mkdir(parents=True, exist_ok=True)
            self._stream(stream, base, recording.tags)
            start = float(stream.times[0])
            rows.append({
                "filename": f"motion/{base.name}_motion.tsv",
                "acq_time": _acquired(start),
                "recording": recording.name,
            })  # fmt: skip
            events = [
                {"onset": f"{s.start - start:.6f}", "duration": f"{s.end - s.start:.6f}", "trial_type": s.label}
                for s in recording.segments
            ]
            if events:
                _table(base.with_name(f"{base.name}_events.tsv"), events)

    def finish(self, name: str, licence: str) -> None:
        for path, rows in self._scans.items():
            _table(path, rows)
        _json(self._root / "dataset_description.json", {
            "Name": name, "BIDSVersion": _BIDS, "DatasetType": "raw", "License": licence,
            "GeneratedBy": [{"Name": "imu-video", "Version": __version__}],
        })  # fmt: skip
        text = f"{name}\n\nMotion of wearable sensors. Written by imu-video {__version__}; videos are not part of it.\n"
        write_atomic(self._root / "README", text, sync=False)
        # A tag describes the subject if all of its recordings agree on it: age, sex, group.
        keys = sorted({key for each in self._tags.values() for tags in each for key in tags})
        keys = [k for k in keys if all(len({tags.get(k) for tags in each}) == 1 for each in self._tags.values())]
        rows = [
            {"participant_id": f"sub-{subject}", **{k: each[0].get(k, "n/a") for k in keys}}
            for subject, each in sorted(self._tags.items())
        ]
        _table(self._root / "participants.tsv", rows)

    def _stream(self, stream: ImuStream, base: Path, tags: Mapping[str, str]) -> None:
        import pandas as pd

        kinds = [kind for kind in _KINDS if any(c.startswith(kind) for c in stream.channels)]
        channels = [{"name": "latency", "component": "n/a", "type": "LATENCY", "tracked_point": "n/a", "units": "s"}]
        for channel in stream.channels:
            kind, axis = channel.split("_")
            channels.append({
                "name": channel, "component": axis, "type": _KINDS[kind][0],
                "tracked_point": stream.placement, "units": _KINDS[kind][1],
            })  # fmt: skip
        latency = stream.times - stream.times[0]
        data = pd.DataFrame(stream.values.T)
        data.insert(0, "latency", np.char.mod("%.6f", latency))
        text = data.to_csv(sep="\t", header=False, index=False, na_rep="n/a", float_format="%.9g", lineterminator="\n")
        write_atomic(base.with_name(f"{base.name}_motion.tsv"), text, sync=False)
        _table(base.with_name(f"{base.name}_channels.tsv"), channels)
        _json(base.with_name(f"{base.name}_motion.json"), {
            "TaskName": self._task,
            "TrackingSystemName": stream.placement,
            "SamplingFrequency": float(f"{1 / stream.period:.6g}"),
            "SamplingFrequencyEffective": float(f"{(len(latency) - 1) / latency[-1]:.9g}"),
            "RecordingDuration": round(float(latency[-1]), 6),
            "MotionChannelCount": len(channels),
            "TrackedPointsCount": 1,
            **{f"{_KINDS[kind][0]}ChannelCount": sum(c.startswith(kind) for c in stream.channels) for kind in kinds},
            **({"GravityRemoved": tags.get("gravity") == "removed"} if "acc" in kinds else {}),
        })  # fmt: skip

    def _distinct(self, name: str, entity: str) -> str:
        label = _label(name, entity)
        held = self._labels.setdefault((entity, label), name)
        if held != name:
            raise RecordingError(
                f"{entity.split()[0]} {held!r} and {name!r} both become {label!r}: BIDS allows letters and digits only",
                hint="rename one of them",
            )
        return label


def _label(name: str, entity: str) -> str:
    label = re.sub(r"[^A-Za-z0-9]", "", name)
    if not label:
        raise RecordingError(f"{entity} {name!r} has no letter or digit of ASCII, which BIDS requires")
    return label


def _camel(placement: str) -> str:
    """A placement as a label.

    Example:
        >>> _camel("left_wrist")
        'leftWrist'
    """
    first, *rest = placement.split("_")
    return _label(first + "".join(word.capitalize() for word in rest), "placement")


def _acquired(start: float) -> str:
    moment = datetime.fromtimestamp(0, UTC) if start >= _EARLIEST_UTC else _NO_DATE
    moment += timedelta(seconds=start)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").zfill(26)


def _table(path: Path, rows: list[dict[str, str]]) -> None:
    def cell(text: str) -> str:
        return re.sub(r"[\t\r\n]+", " ", text).strip() or "n/a"

    lines = ["\t".join(rows[0]), *("\t".join(cell(v) for v in row.values()) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(lines) + "\n", sync=False)


def _json(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", sync=False)
