"""Typed objects passed between packages, and the axis glossary; no reading, writing or arithmetic here.

Axes, one letter each, in every docstring and error of this project:
B batch, C IMU channels, T IMU time steps, V IMU devices, F frames, H W pixels, J joints,
E feature width (encoder output), D embedding width (projected, unit norm), K queue length, N samples, M classes,
S shots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from imu_video import registry
from imu_video.errors import ConfigError, RecordingError

IMU_CHANNELS: tuple[str, ...] = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")
"""Canonical channel order: specific force in m/s^2 (gravity included), then angular rate in rad/s."""

GRAVITY = 9.80665
"""Standard gravity in m/s^2."""


def channel_unit(channel: str) -> str:
    """Unit of a canonical channel: m/s^2 for ``acc_*``, rad/s for ``gyr_*``.

    Example:
        >>> channel_unit("gyr_x")
        'rad/s'
    """
    return {"acc": "m/s^2", "gyr": "rad/s"}[channel.split("_")[0]]


def stored_unit(channel: str, normalised: str) -> str:
    """Unit of a canonical channel in stored windows: SI, or ``1`` where signals were normalised before.

    Example:
        >>> stored_unit("acc_x", "none"), stored_unit("acc_x", "recording")
        ('m/s^2', '1')
    """
    return channel_unit(channel) if normalised == "none" else "1"


# ---------------------------------------------------------------------------------------------- raw recordings


@dataclass(frozen=True, kw_only=True, eq=False)
class ImuStream:
    """One IMU device of a recording, in SI units, on the recording's clock; NaN marks a missing sample or channel.

    Args:
        placement: where the device is worn, lower case with underscores (``right_wrist``).
        times: (T,) float64 seconds, strictly increasing; need not be regular.
        values: (C, T) specific force in m/s^2 (gravity included) and angular rate in rad/s.
        channels: names of the C rows; a subset of IMU_CHANNELS when a sensor is absent.
        clock: the report of a repair of its time stamps (`recordings.timestamps.ClockReport.plain`), or None.

    Raises:
        RecordingError: wrong axis order, times that do not increase, unknown channel names.

    Example:
        >>> s = ImuStream(placement="waist", times=np.arange(5) / 50, values=np.zeros((6, 5)))
        >>> s.values.shape
        (6, 5)
    """

    placement: str
    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...] = IMU_CHANNELS
    clock: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        unknown = [c for c in self.channels if c not in IMU_CHANNELS]
        if unknown:
            raise RecordingError(
                f"stream {self.placement!r}: unknown channels {unknown}, expected {list(IMU_CHANNELS)}"
            )
        expected = (len(self.channels), len(self.times))
        if self.values.shape != expected:
            raise RecordingError(
                f"stream {self.placement!r}: values have shape {self.values.shape}, expected (C, T) = {expected}",
                hint="IMU arrays are channels first; transpose once where the file is read",
            )
        steps = np.diff(self.times)
        if len(self.times) < 2 or not np.all(np.isfinite(self.times)) or np.any(steps <= 0):
            where = int(np.argmax(~(steps > 0))) + 1 if len(steps) else 0
            raise RecordingError(
                f"stream {self.placement!r}: times must increase strictly; "
                f"{len(self.times)} samples, fault at sample {where}",
                hint="sort the rows, drop repeated time stamps, or declare the right time column and unit",
            )

    @cached_property
    def complete(self) -> bool:
        """Whether every channel was measured at every sample; computed once."""
        return bool(np.isfinite(self.values).all())

    @cached_property
    def period(self) -> float:
        """Median seconds between samples; computed once."""
        return float(np.median(np.diff(self.times)))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A labelled interval of a recording: ``start`` <= t < ``end`` in seconds on the recording's clock."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One continuous recording of one subject: IMU devices, and streams of other modalities, on one clock.

    Args:
        dataset: short name of the dataset.
        subject: unique within the dataset (``s03``).
        name: unique within the dataset; letters, digits, ``-`` and ``_`` only (it becomes part of sample keys).
        imu: one stream per device, placements distinct.
        streams: other modalities by stream name: ``video``, ``video.<camera>`` for further cameras, ``skeleton`` or any
            registered modality; objects with ``times`` (N,) in increasing seconds. Entries that are None are left out.
        segments: labelled intervals; may be empty.
        session: visit or day; a subject may have several.
        tags: further metadata that evaluation may select on (``device``, ``camera``, ``population`` ...).
        notes: facts about its files for the quality report.
        files: names of files for messages, by part: ``imu.<placement>``, a stream, or ``labels``.
        missing: whether a part whose time range meets no device is an error or a note (`recordings.ranges`).

    Raises:
        RecordingError: an illegal name, repeated placements, no IMU stream, a stream of no registered modality.
    """

    dataset: str
    subject: str
    name: str
    imu: tuple[ImuStream, ...]
    streams: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    session: str = "1"
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    missing: Literal["error", "warn"] = "error"

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in self.name):
            raise RecordingError(f"recording name {self.name!r}: use letters, digits, '-' and '_' only")
        placements = [s.placement for s in self.imu]
        if not placements or len(set(placements)) != len(placements):
            raise RecordingError(f"recording {self.name!r}: needs IMU streams of distinct placements, got {placements}")
        # Adapters pass None where a recording lacks a file: dropping it here keeps every adapter short.
        present = {name: stream for name, stream in self.streams.items() if stream is not None}
        object.__setattr__(self, "streams", present)
        for stream in present:
            _check_stream_name(self.name, stream)


def _check_stream_name(recording: str, stream: str) -> None:
    name, dot, part = stream.partition(".")
    if name == "imu" or name not in registry.modalities.names():
        raise RecordingError(
            f"recording {recording!r}: stream {stream!r} is of no registered modality other than imu",
            hint="IMU devices go to `imu`; `imu-video list modalities` shows the others",
        )
    wrong = registry.modalities.get(name).check_part(part) if bool(dot) == bool(part) else "it ends in a dot"
    if wrong is not None:
        raise RecordingError(
            f"recording {recording!r}: stream {stream!r}: {wrong}",
            hint="the main video is `video`; further cameras are named like `video.depth` or `video.exo_2`",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A fixed-length cut of a recording, ready to be written as one shard sample.

    Args:
        key: sample key, unique in the dataset, no dots.
        recording, subject, session: source of the window.
        start: seconds on the recording's clock.
        imu: placement -> (C, T) float32 in SI units at the index's rate, canonical channels, NaN where missing.
        streams: stream -> one stored sample of its modality: ``video`` (F, H, W, 3) uint8 RGB, ``skeleton`` (F, J, 3)
            float32 metres. Entries that are None are left out.
        label: activity, or None where unlabelled or ambiguous.
        tags: copied from the recording.
        flags: findings of quality checks, sorted: ``<placement>:<reason>`` or ``<stream>:<reason>``.
        sync: estimate for the recording: ``offset_s``, ``drift_ppm`` and ``score``; None if there is no estimate.
    """

    key: str
    recording: str
    subject: str
    session: str
    start: float
    imu: Mapping[str, np.ndarray]
    streams: Mapping[str, np.ndarray] = field(default_factory=dict)
    label: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    sync: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if any(values is None for values in self.streams.values()):
            object.__setattr__(self, "streams", {k: v for k, v in self.streams.items() if v is not None})


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True, kw_only=True, eq=False)
class PairMeta:
    """Origin of each row of a batch, which losses use to select negatives; all fields are (B,).

    Args:
        sample: int64 row in the split's columns.
        recording: int64 recording number.
        time: float64 window start in seconds on the recording's clock.
        device: int64 number of the sampled placement.
        subject: int64 subject number.
    """

    sample: Tensor
    recording: Tensor
    time: Tensor
    device: Tensor
    subject: Tensor

    def to(self, device: torch.device | str) -> PairMeta:
        return PairMeta(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class PairBatch:
    """One rank's part of a training batch; fields that a run does not need are None or absent.

    Args:
        imu: (B, C, T) float32 in SI units, zeros where missing.
        mask: (B, C, T) bool, True where a sample was measured.
        meta: origin of the rows.
        teacher: (B, Dt) frozen teacher features: float32, or float16 as they were cached until `to` is called.
        others: stream -> (B, ...) in the axes of its modality: ``skeleton`` (B, F, J, 3) float32 metres, ``video``
            (B, F, H, W, 3) uint8 RGB for a teacher that is computed while training.
        imu_two, mask_two: (B, C, T) as imu and mask: the second window of an augmented pair.
        devices: (B, V, C, T) float32, all devices of each window in SI units, zeros where missing.
        devices_mask: (B, V, C, T) bool, True where a device measured; comes with ``devices``.
        text: (B,) int64 number of each window's text in the texts of the run, -1 for a window without one.
        paired: (B,) bool, False for windows of a folder without a teacher, whose ``teacher`` rows are zeros; None: all
            windows are paired.

    Raises:
        ValueError: axes that do not fit together.
        ConfigError: a stream of no registered modality.
    """

    imu: Tensor
    mask: Tensor
    meta: PairMeta
    teacher: Tensor | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)
    imu_two: Tensor | None = None
    mask_two: Tensor | None = None
    devices: Tensor | None = None
    devices_mask: Tensor | None = None
    text: Tensor | None = None
    paired: Tensor | None = None

    def __post_init__(self) -> None:
        if self.imu.ndim != 3 or self.mask.shape != self.imu.shape:
            raise ValueError(f"imu and mask must be (B, C, T): got {tuple(self.imu.shape)}, {tuple(self.mask.shape)}")
        for name, axes in (("teacher", "B Dt"), ("devices", "B V C T"), ("text", "B"), ("paired", "B")):
            value = getattr(self, name)
            if value is not None and (value.ndim != len(axes.split()) or len(value) != len(self.imu)):
                shape = f"({', '.join(axes.split())})"
                raise ValueError(f"{name} must be {shape} with B={len(self.imu)}, got {tuple(value.shape)}")
        for stream, values in self.others.items():
            registry.modalities.get(stream.partition(".")[0]).check_batch(values, rows=len(self.imu))
        if (self.devices is None) != (self.devices_mask is None):
            raise ValueError("devices and devices_mask come together")
        if (
            self.devices is not None
            and self.devices_mask is not None
            and not (self.devices.shape[2:] == self.imu.shape[1:] and self.devices_mask.shape == self.devices.shape)
        ):
            raise ValueError(
                f"devices and devices_mask must be (B, V, C, T) with (C, T)={tuple(self.imu.shape[1:])}, got "
                f"{tuple(self.devices.shape)}, {tuple(self.devices_mask.shape)}"
            )

    def to(self, device: torch.device | str) -> PairBatch:
        """The batch on a device, teacher features as float32; float16 is cast after the copy."""
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        if "teacher" in moved:
            moved["teacher"] = moved["teacher"].float()
        moved["others"] = {name: v.to(device, non_blocking=True) for name, v in self.others.items()}
        return replace(self, meta=self.meta.to(device), **moved)

    def with_imu(self, imu: Tensor, mask: Tensor) -> PairBatch:
        return replace(self, imu=imu, mask=mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairEmbeddings:
    """Input of a loss: unit-norm embeddings of one rank's rows, with the origin of the rows.

    Everything but ``imu`` is present only where a loss of the run needs it (`losses.PairLoss.needs`, in brackets
    below); the tensors carry gradient unless stated otherwise.

    Args:
        imu: (B, D) float, unit norm.
        sides: name -> (B, D) float, unit norm: embeddings that the windows are paired with. ``teacher`` is computed
            from a frozen teacher's features; a trained encoder's entry has the name of its modality [side].
        meta: origin of the rows.
        teacher: (B, Dt) float, frozen standardised teacher features, without gradient [teacher].
        imu_two: (B, D) float, unit norm, of the second window of each augmented pair [augmented_pair].
        imu_one: (B, D) float, unit norm, of the first window by the head of augmented pairs; None: ``imu``
            [augmented_pair].
        devices: (B, V, D) float, unit norm, of every device of the window [devices].
        devices_present: (B, V) bool, True where the device is present; None: all are [devices].
        devices_imu: (B, V, C, T) float, the devices' windows in SI units, without gradient [devices].
        imu_segments: (B, S, D) float, unit norm, one embedding per time segment of the window [segments].
        side_segments: name -> (B, S, D) float, unit norm, of the same time segments of the other side [segments].
        paired: (B,) bool, False for windows without a pair, whose ``sides`` and ``teacher`` are zeros; None: all are
            paired. A loss that reads those fields gets `with_pairs` (`losses.LossMix`).
        parts: number of rows of each batch that was joined into this one, in order; empty: a single batch.
    """

    imu: Tensor
    sides: Mapping[str, Tensor] = field(default_factory=dict)
    meta: PairMeta | None = None
    teacher: Tensor | None = None
    imu_two: Tensor | None = None
    imu_one: Tensor | None = None
    devices: Tensor | None = None
    devices_present: Tensor | None = None
    devices_imu: Tensor | None = None
    imu_segments: Tensor | None = None
    side_segments: Mapping[str, Tensor] = field(default_factory=dict)
    paired: Tensor | None = None
    parts: tuple[int, ...] = ()

    @property
    def first(self) -> Tensor:
        """The embedding that ``imu_two`` is compared with."""
        return self.imu if self.imu_one is None else self.imu_one

    @property
    def side(self) -> Tensor | None:
        """The embedding that the windows are paired with, or None.

        Raises:
            ConfigError: several sides: name one.
        """
        return _only(self.sides)

    @property
    def segments(self) -> Tensor | None:
        """The time segments of the side that the windows are paired with; see `side`."""
        return _only(self.side_segments)

    def apply(self, change: Callable[[Tensor], Tensor]) -> PairEmbeddings:
        """Apply one function to every tensor, metadata included.

        Example:
            >>> PairEmbeddings(imu=torch.eye(3), sides={"video": torch.eye(3)}).apply(lambda x: x[:2]).side.shape
            torch.Size([2, 3])
        """
        return PairEmbeddings(**_joined([self], lambda tensors: change(tensors[0])))

    def detach(self) -> PairEmbeddings:
        """The same values without gradient."""
        return replace(self.apply(Tensor.detach), parts=self.parts)

    def with_pairs(self) -> PairEmbeddings:
        """The rows that are paired.

        Example:
            >>> two = PairEmbeddings(imu=torch.eye(3), paired=torch.tensor([True, False, True])).with_pairs()
            >>> two.imu.shape, two.paired
            (torch.Size([2, 3]), None)
        """
        keep = self.paired
        if keep is None:
            return self
        parts = tuple(int(part.sum()) for part in keep.split(list(self.parts))) if self.parts else ()
        return replace(self.apply(lambda x: x[keep]), paired=None, parts=parts)

    @staticmethod
    def join(pairs: Sequence[PairEmbeddings]) -> PairEmbeddings:
        """Join the rows of several batches; `parts` keeps the number of rows of each."""
        if len(pairs) == 1:
            return pairs[0]
        parts = tuple(n for p in pairs for n in p.parts or (len(p.imu),))
        return PairEmbeddings(**_joined(pairs, torch.cat), parts=parts)


def _only(sides: Mapping[str, Tensor]) -> Tensor | None:
    if len(sides) > 1:
        raise ConfigError(
            f"the embeddings have several sides ({', '.join(sides)}), but this loss uses one", hint="pass one side"
        )
    return next(iter(sides.values()), None)


def _joined(pairs: Sequence[PairEmbeddings], join: Callable[[list[Tensor]], Tensor]) -> dict[str, Any]:
    """Fields of embeddings that hold the same tensors as ``pairs``, each joined into one."""
    out: dict[str, Any] = {}
    for name, value in vars(pairs[0]).items():
        every = [getattr(pair, name) for pair in pairs]
        if isinstance(value, Tensor):
            out[name] = join(every)
        elif isinstance(value, Mapping):
            out[name] = {key: join([one[key] for one in every]) for key in value}
        elif isinstance(value, PairMeta):
            out[name] = PairMeta(**{key: join([getattr(one, key) for one in every]) for key in vars(value)})
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class LossOutput:
    """A scalar to minimise and named numbers to log (detached scalars: ``terms`` enter the total, ``stats`` do not)."""

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    stats: Mapping[str, Tensor] = field(default_factory=dict)


JsonDict = dict[str, Any]
"""A JSON object."""
