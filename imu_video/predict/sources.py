"""Windows of anything that a user names: one file, a folder of recordings, or a data folder; no features here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.bundle.input_spec import InputSpec
from imu_video.config import validate
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.prepare import SignalConfig
from imu_video.recordings.windows import WindowConfig, cut
from imu_video.types import IMU_CHANNELS, Recording

FACTS = ("dataset", "subject", "session", "recording", "placement", "label")
"""Texts that are known of every window; the label is empty where there is none."""
_BLOCK = 2048
"""Windows that are read from a data folder at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """Windows of one recording, or a block of windows of a data folder: one row per window and device.

    Args:
        x: (N, C, T) float32 in m/s^2 and rad/s, NaN where missing.
        rate_hz: samples per second.
        seconds: length of a window.
        channels: names of the C channels.
        start: (N,) float64 seconds on the recording's clock.
        facts: the `FACTS`, (N,) texts each.
        notes: facts about the recording, such as units that were taken from the file.
        recording: the recording before the cut, for pictures; None for a data folder.

    Example:
        >>> x, facts = np.zeros((2, 6, 100), np.float32), {name: np.full(2, "") for name in FACTS}
        >>> start = np.array([0.0, 2.0])
        >>> len(Windows(x=x, rate_hz=50, seconds=2.0, channels=IMU_CHANNELS, start=start, facts=facts))
        2
    """

    x: np.ndarray
    rate_hz: float
    seconds: float
    channels: tuple[str, ...]
    start: np.ndarray
    facts: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    recording: Recording | None = None

    def __len__(self) -> int:
        return len(self.x)


def open_windows(
    source: str | Path,
    spec: InputSpec,
    *,
    seconds: float | None = None,
    stride_s: float | None = None,
    placement: str | None = None,
) -> Iterator[Windows]:
    """Cut the windows of a source as an encoder needs them.

    Args:
        source: a file of a device or an app, a table, a folder with a `dataset.yaml` (or that file), or a data folder
            with its shards, whose windows stay as they were cut.
        spec: input specification of the encoder.
        seconds: window length; default: that of the encoder's training windows.
        stride_s: distance of window starts; default: the window length.
        placement: name of the device of a single file; in other sources: the only device that is read.

    Yields:
        The windows of each recording, or of each block of a data folder, in order.

    Raises:
        RecordingError: nothing that can be read, or no window.
        ConfigError: data that does not fit the encoder, or options that do not apply to the source.

    Example:
        >>> import tempfile
        >>> time = np.arange(500) / 50
        >>> rows = np.stack([time, np.sin(time), np.cos(time), 9.8 + np.sin(time)], axis=1)
        >>> file = Path(tempfile.mkdtemp()) / "walk.csv"
        >>> np.savetxt(file, rows, delimiter=",", header="time_s,acc_x,acc_y,acc_z", comments="")
        >>> spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(9.8,) * 3 + (1,) * 3)
        >>> [windows.x.shape for windows in open_windows(file, spec)]
        [(5, 6, 100)]
    """
    if is_data_folder(source):
        if seconds is not None or stride_s is not None:
            raise ConfigError(
                f"{source}: windows of a data folder are already cut",
                hint="leave out the window length and the stride, or name the recordings that it was built from",
            )
        from imu_video.shards.reading.index import load_index

        return _stored(load_index(source), spec, placement)
    length = spec.window_s if seconds is None else seconds
    config = validate(
        {"seconds": length, "stride_s": stride_s, "rate_hz": spec.rate_hz}, WindowConfig, source=f"windows of {source}"
    )
    accepts = spec.accepts
    if accepts is not None and not 0.98 * accepts.min_window_s <= length <= 1.02 * accepts.max_window_s:
        raise ConfigError(
            f"windows of {length:g} s: this encoder accepts {accepts.min_window_s:g} s to {accepts.max_window_s:g} s",
            hint=f"--seconds {spec.window_s:g}, the length of the training windows",
        )
    return _cut(_recordings(Path(source), placement), spec, config, placement)


def is_data_folder(source: str | Path) -> bool:
    """Whether a source is a data folder with shards (or its index, or an address), not recordings."""
    from imu_video.shards.remote import is_address
    from imu_video.shards.schema import INDEX_FILE

    path = Path(source)
    return is_address(source) or path.name == INDEX_FILE or (path / INDEX_FILE).is_file()


def _recordings(path: Path, placement: str | None) -> Iterator[Recording]:
    from imu_video.datasets.folder import Folder
    from imu_video.datasets.folder.declaration import DECLARATION
    from imu_video.datasets.single import read_file

    if (path / DECLARATION).is_file() or path.suffix.lower() in (".yaml", ".yml"):
        return Folder(root=str(path)).recordings()
    return iter([read_file(path, placement=placement)])


def _cut(
    recordings: Iterator[Recording], spec: InputSpec, config: WindowConfig, placement: str | None
) -> Iterator[Windows]:
    # A generator that checks first: a source without a window must not end as an empty table.
    some = False
    for recording in recordings:
        signal = _conditioning(recording, spec)
        _check_rates(recording, spec, placement)
        rows: list[tuple[np.ndarray, float, str, str]] = []
        for window in cut(recording, config, signal=signal):
            for device, values in window.imu.items():
                if placement is None or device == placement:
                    rows.append((values, window.start, device, window.label or ""))
        if placement is not None and placement not in {one.placement for one in recording.imu}:
            continue
        if not rows:
            raise RecordingError(
                f"recording {recording.name!r} has no complete window of {config.seconds:g} s: it lasts "
                f"{_seconds(recording):.4g} s",
                hint="record longer"
                + (
                    ""
                    if config.seconds <= 1
                    else ", or choose shorter windows with --seconds; a head needs its own length"
                ),
            )
        some = True
        number = len(rows)
        texts = {"dataset": recording.dataset, "subject": recording.subject, "session": recording.session}
        yield Windows(
            x=np.stack([row[0] for row in rows]),
            rate_hz=config.rate_hz,
            seconds=config.seconds,
            channels=IMU_CHANNELS,
            start=np.array([row[1] for row in rows]),
            facts={
                **{name: np.full(number, text) for name, text in {**texts, "recording": recording.name}.items()},
                "placement": np.array([row[2] for row in rows]),
                "label": np.array([row[3] for row in rows]),
            },
            notes=recording.notes,
            recording=recording,
        )
    if not some:
        raise ConfigError(f"no recording has a device {placement!r}", hint="`imu-video check FOLDER` lists recordings")


def _seconds(recording: Recording) -> float:
    return max(float(s.times[-1]) for s in recording.imu) - min(float(s.times[0]) for s in recording.imu)


def _check_rates(recording: Recording, spec: InputSpec, placement: str | None) -> None:
    """Refuse devices that are slower than the encoder accepts: after resampling, nothing shows it any more.

    Raises:
        ConfigError: naming the device and its rate.
    """
    for stream in recording.imu:
        if spec.accepts is None or len(stream.times) < 2 or placement not in (None, stream.placement):
            continue
        rate_hz = 1 / max(float(np.median(np.diff(stream.times))), 1e-9)
        # The rate of a real device is never exactly its nominal one.
        if rate_hz < 0.98 * spec.accepts.min_rate_hz:
            raise ConfigError(
                f"recording {recording.name!r}: {stream.placement} is sampled at {rate_hz:.3g} Hz, this encoder "
                f"accepts {spec.accepts.min_rate_hz:g} Hz and more",
                hint="record at a higher rate"
                + (", or name a faster device with --placement" if len(recording.imu) > 1 else "")
                + "; in Python, encode(..., check_units=False) computes features that were not tested",
            )


def _conditioning(recording: Recording, spec: InputSpec) -> SignalConfig:
    """The steps that give a recording the quantity that the encoder was trained on.

    Raises:
        ConfigError: gravity was removed from the recording, and the encoder expects it.
    """
    removed = recording.tags.get("gravity") == "removed"
    if removed and spec.gravity == "included" and any(c.startswith("acc") for c in spec.channels):
        raise ConfigError(
            f"recording {recording.name!r}: gravity was removed from its acceleration, but the encoder was trained "
            "with gravity",
            hint="record the acceleration with gravity, or use an encoder that was trained without it",
        )
    remove = not removed and spec.gravity == "removed"
    return SignalConfig(gravity="remove" if remove else "keep", normalise=spec.normalised)


def _stored(index: Any, spec: InputSpec, placement: str | None) -> Iterator[Windows]:
    from imu_video.errors import nearest
    from imu_video.shards.reading.columns import open_columns

    for fact, expected in (("gravity", spec.gravity), ("normalised", spec.normalised)):
        if getattr(index, fact) != expected:
            raise ConfigError(
                f"{index.root}: {fact} is {getattr(index, fact)!r}, but the encoder was trained with {expected!r}",
                hint="build the data folder with the signal settings of the encoder's training data",
            )
    if placement is not None and placement not in index.placements:
        raise ConfigError(f"{index.root}: no placement {placement!r}{nearest(placement, index.placements)}")
    for split in index.splits:
        columns = open_columns(index, split)
        devices = [v for v, name in enumerate(columns.placements) if placement in (None, name)]
        for begin in range(0, len(columns), _BLOCK):
            block = np.arange(begin, min(begin + _BLOCK, len(columns)))
            sample, place = np.nonzero(np.asarray(columns.present)[block][:, devices])
            if not len(sample):
                continue
            sample, device = block[sample], np.asarray(devices)[place]
            rows = sample.tolist()
            texts = {
                "subject": columns.subjects,
                "session": columns.sessions,
                "recording": columns.recordings,
            }
            yield Windows(
                x=np.ascontiguousarray(columns.imu[sample, device], dtype=np.float32),
                rate_hz=float(index.rate_hz),
                seconds=float(index.window_s),
                channels=tuple(index.channels),
                start=np.asarray(columns.start, dtype=np.float64)[sample],
                facts={
                    "dataset": np.full(len(rows), index.dataset),
                    **{name: np.array([str(values[i]) for i in rows]) for name, values in texts.items()},
                    "placement": np.array([columns.placements[v] for v in device.tolist()]),
                    "label": np.array([columns.labels[i] or "" for i in rows]),
                },
            )
