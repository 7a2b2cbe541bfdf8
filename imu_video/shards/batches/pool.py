"""Windows of one or several datasets as one numbered pool, gathered from memory maps; plan.py selects the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from imu_video.errors import ConfigError, nearest
from imu_video.modalities.base import modality_of
from imu_video.shards.reading.arrays import CheckedArray, check_rows, plain
from imu_video.shards.reading.clips import ClipReader
from imu_video.shards.reading.columns import Columns
from imu_video.types import PairMeta

Rows = np.ndarray | CheckedArray
"""An array in memory, or one of a file whose rows are checked before their first use."""
CLIPS = "video"
"""Stream that clips become: decoded for each batch, because decoded video does not fit into columns."""

_CHUNK = 8192  # rows examined at a time when looking for what is missing


class ColumnPool:
    """Concatenated samples of several columns with a common numbering of devices, recordings and subjects.

    Datasets may have different placements: the device axis has all of them, sorted. Subjects and recordings of
    different datasets are different even if their names are equal.

    Args:
        columns: at least one; all of one rate, window length and channels.
        teachers: for each an (N, Dt) array-like in its order, or None for all.
        streams: streams of other modalities in the batches, from the columns (``skeleton``).
        clips: clips of each, which become the stream ``video``; None without clips.
        texts: for each (N,) int64 numbers of its windows' texts, -1 without one; None for batches without texts.

    Attributes:
        sizes: number of samples of each.
        placements: names on the device axis V.
        present, complete: (N, V) bool, as in `Columns`.
        recording, subject: (N,) int64 numbers.
        start: (N,) float64 seconds.

    Raises:
        ConfigError: columns that cannot be mixed, features of another length or width, a stream that they lack.
    """

    def __init__(
        self,
        columns: Sequence[Columns],
        *,
        teachers: Sequence[Rows] | None = None,
        streams: Sequence[str] = (),
        clips: Sequence[ClipReader] | None = None,
        texts: Sequence[np.ndarray] | None = None,
    ) -> None:
        if teachers is not None and len(teachers) != len(columns):
            raise ConfigError(f"{len(columns)} data folders, but teacher features of {len(teachers)}")
        _check_alike(columns)
        _check_features(columns, teachers)
        if clips is not None:
            _check_clips(columns, clips)
        self.columns = list(columns)
        self.sizes = [len(one) for one in columns]
        self._ends = np.cumsum(self.sizes)
        self._teachers, self._clips = teachers, clips
        self._texts = None if texts is None else np.concatenate(texts).astype(np.int64)
        self._streams = {stream: _arrays_of(columns, stream) for stream in streams}
        self.placements = tuple(sorted({name for one in columns for name in one.placements}))
        shape = (sum(self.sizes), len(self.placements))
        self.present, self.complete = np.zeros(shape, bool), np.zeros(shape, bool)
        self._device = [np.full(len(self.placements), -1) for _ in columns]  # pool device -> device of the columns
        for number, one in enumerate(columns):
            places = [self.placements.index(name) for name in one.placements]
            self._device[number][places] = np.arange(len(places))
            self.present[self.part(number), places] = one.present
            self.complete[self.part(number), places] = one.complete
        self.recording = _numbered_on([one.recording_id for one in columns])
        self.subject = _numbered_on([one.subject_id for one in columns])
        self.start = np.concatenate([one.start for one in columns])
        # Plain arrays (N * V, C * T): a memory map's own indexing costs more than the copy. `check_rows` comes first.
        self._flat = [plain(one.imu).reshape(len(one) * len(one.placements), -1) for one in columns]
        self._axes = columns[0].imu.shape[2:]
        self._full: Tensor | None = None

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def left_out(self) -> dict[str, str]:
        """Keys of damaged samples and the reasons for skipping them."""
        parts = [*(one.left_out for one in self.columns), *(one.left_out for one in self._clips or ())]
        return {key: reason for part in parts for key, reason in part.items()}

    @property
    def has_teacher(self) -> bool:
        """Whether there are teacher features."""
        return self._teachers is not None

    def part(self, number: int) -> slice:
        """Rows of one of the columns."""
        return slice(int(self._ends[number]) - self.sizes[number], int(self._ends[number]))

    def allowed(self, devices: Sequence[str] | None) -> np.ndarray:
        """(V,) bool: the named devices, or all.

        Raises:
            ConfigError: unknown device.
        """
        allowed = np.full(len(self.placements), devices is None)
        for device in devices or ():
            if device not in self.placements:
                raise ConfigError(f"the data has no device {device!r}{nearest(device, self.placements)}")
            allowed[self.placements.index(device)] = True
        return allowed

    def finite(self) -> np.ndarray:
        """(N,) bool, True for samples with all requested data besides a device: teacher features, streams, clip."""
        there = np.ones(len(self), bool)
        for arrays in (self._teachers, *self._streams.values()):
            if arrays is not None:
                there &= np.concatenate([_finite_rows(array) for array in arrays])
        if self._clips is not None:
            there &= np.concatenate([reader.usable for reader in self._clips])
        return there

    def imu(self, rows: np.ndarray, devices: np.ndarray) -> tuple[Tensor, Tensor]:
        """(B, C, T) float32 windows with zeros for missing samples, and their mask."""
        parts = []
        for number, at, of in self._parts(rows):
            check_rows(self.columns[number].imu, of)
            device = devices[at] if len(self.columns) == 1 else self._device[number][devices[at]]
            parts.append((number, at, of * len(self.columns[number].placements) + device))
        values = _gather(self._flat, parts, len(rows)).reshape(len(rows), *self._axes)
        complete = self.complete[rows, devices]
        if complete.all():
            return torch.from_numpy(values), self._all_measured(values.shape)
        return _measured(values, complete)

    def _all_measured(self, shape: tuple[int, ...]) -> Tensor:
        """A cached mask of True, because filling a new one takes a tenth of the gather; replaced if it was changed."""
        full = self._full
        # `_version` counts writes in place: a caller that changed the shared mask must not change later batches.
        if full is None or full.shape != shape or full._version:
            full = self._full = torch.ones(shape, dtype=torch.bool)
        return full

    def devices(self, rows: np.ndarray, allowed: np.ndarray) -> tuple[Tensor, Tensor]:
        """(B, V, C, T) float32 windows of the allowed devices with zeros for missing samples, and their mask."""
        # NaN means not measured, as in the columns, so that `_measured` can derive zeros and mask from it.
        values = np.full((len(rows), len(self.placements), *self._axes), np.nan, np.float32)
        for number, at, of in self._parts(rows):
            check_rows(self.columns[number].imu, of)
            for device in np.flatnonzero(allowed & (self._device[number] >= 0)):
                columns = self.columns[number]
                flat = of * len(columns.placements) + self._device[number][device]
                values[at, device] = self._flat[number][flat].reshape(len(of), *self._axes)
        return _measured(values, self.complete[rows] & allowed)

    def teacher(self, rows: np.ndarray) -> Tensor | None:
        """(B, Dt) features as they were cached, float16 or float32; None without a teacher."""
        return None if self._teachers is None else self._tensor(self._teachers, rows)

    def text(self, rows: np.ndarray) -> Tensor | None:
        """(B,) numbers of the texts of rows; None without texts."""
        return None if self._texts is None else torch.from_numpy(self._texts[rows])

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams of other modalities that batches hold."""
        return (*self._streams, *(() if self._clips is None else (CLIPS,)))

    def stream(self, name: str, rows: np.ndarray, seeds: Sequence[int] | None = None) -> Tensor:
        """Rows of a stream in the axes of its modality.

        Args:
            name: one of `streams`.
            rows: (B,) rows of the pool.
            seeds: numbers that determine the change of each clip; None: as stored.

        Raises:
            KeyError: the pool was made without that stream.
        """
        if name == CLIPS and self._clips is not None:
            return self._clip(self._clips, rows, seeds)
        return self._tensor(self._streams[name], rows)

    def _clip(self, clips: Sequence[ClipReader], rows: np.ndarray, seeds: Sequence[int] | None) -> Tensor:
        if len(clips) == 1:
            return clips[0].read(rows, seeds)
        out = torch.empty((len(rows), *clips[0].shape), dtype=torch.uint8)
        for number, at, own in self._parts(rows):
            chosen = np.arange(len(rows))[at]
            out[chosen] = clips[number].read(own, None if seeds is None else [seeds[i] for i in chosen])
        return out

    def meta(self, rows: np.ndarray, devices: np.ndarray) -> PairMeta:
        """Origin of rows, (B,) each."""
        return PairMeta(
            sample=torch.from_numpy(rows),
            recording=torch.from_numpy(self.recording[rows]),
            time=torch.from_numpy(self.start[rows]),
            device=torch.from_numpy(devices),
            subject=torch.from_numpy(self.subject[rows]),
        )

    def keys(self, rows: Iterable[int]) -> list[str]:
        """Sample keys of rows of the pool, for messages."""
        found = []
        for row in rows:
            number = int(np.searchsorted(self._ends, row, side="right"))
            found.append(self.columns[number].keys[row - self.part(number).start])
        return found

    def _tensor(self, arrays: Sequence[Rows], rows: np.ndarray) -> Tensor:
        parts = self._parts(rows)
        for number, _, of in parts:
            check_rows(arrays[number], of)
        return torch.from_numpy(_gather([plain(array) for array in arrays], parts, len(rows)))

    def _parts(self, rows: np.ndarray) -> list[Part]:
        if len(self.columns) == 1:
            return [(0, slice(None), rows)]
        # Ends are exclusive: the row with the number of an end is the first one of the next folder.
        of = np.searchsorted(self._ends, rows, side="right")
        parts: list[Part] = []
        for number in np.unique(of).tolist():
            at = np.flatnonzero(of == number)
            parts.append((number, at, rows[at] - self.part(number).start))
        return parts


Part = tuple[int, np.ndarray | slice, np.ndarray]
"""Which array, where in the batch its rows go, and which rows of it."""


def _gather(arrays: Sequence[np.ndarray], parts: Sequence[Part], count: int) -> np.ndarray:
    """``count`` rows out of several arrays, whose rows were checked."""
    # mode="clip" spares numpy a second buffer; the plan has no row outside
    found = [np.take(arrays[number], rows, axis=0, mode="clip") for number, _, rows in parts]
    if len(parts) == 1 and isinstance(parts[0][1], slice):
        return found[0]
    # Features of one folder may be float16 and those of another float32; the wider type holds both exactly.
    out = np.empty((count, *arrays[0].shape[1:]), np.result_type(*arrays))
    for (_, at, _), values in zip(parts, found, strict=True):
        out[at] = values
    return out


def _measured(values: np.ndarray, complete: np.ndarray) -> tuple[Tensor, Tensor]:
    """Windows with zeros for NaN, and the mask of measured samples; complete windows are not searched for NaN."""
    mask = torch.ones(values.shape, dtype=torch.bool)
    gaps = ~complete
    if gaps.any():
        some = values[gaps]
        finite = np.isfinite(some)
        values[gaps] = np.where(finite, some, np.float32(0))
        mask.numpy()[gaps] = finite
    return torch.from_numpy(values), mask


def _check_alike(columns: Sequence[Columns]) -> None:
    first = columns[0]
    for other in columns[1:]:
        for what, a, b in (
            ("rate in Hz", first.rate_hz, other.rate_hz),
            ("samples in a window", first.imu.shape[3], other.imu.shape[3]),
            ("channels", list(first.channels), list(other.channels)),
        ):
            if a != b:
                raise ConfigError(
                    f"data folders cannot be mixed: {what}: {a} ({first.digest}, split {first.split!r}) and {b} "
                    f"({other.digest}, split {other.split!r})",
                    hint="build them with the same window.rate_hz and window.seconds",
                )


def _check_features(columns: Sequence[Columns], teachers: Sequence[Rows] | None) -> None:
    for one, features in zip(columns, teachers or (), strict=False):
        if np.ndim(features) != 2 or len(features) != len(one):
            raise ConfigError(
                f"teacher features have shape {np.shape(features)}, expected (N, Dt) with N={len(one)} samples of "
                f"split {one.split!r}",
                hint="run `imu-video embed` for these shards",
            )
    # The number of features per folder was compared with the folders before; only their width is left to check.
    widths = {features.shape[1] for features in teachers or ()}
    if len(widths) > 1:
        raise ConfigError(f"teacher features have different widths {sorted(widths)}: they are of different teachers")


def _check_clips(columns: Sequence[Columns], clips: Sequence[ClipReader]) -> None:
    sizes, shapes = [len(one) for one in clips], [one.shape for one in clips]
    if sizes != [len(one) for one in columns] or len(set(shapes)) > 1:
        raise ConfigError(
            f"clips of {sizes} samples with (F, H, W, 3) {shapes} do not fit columns of "
            f"{[len(one) for one in columns]} samples",
            hint="build the data folders with the same window.clip_fps and window.clip_size",
        )


def _arrays_of(columns: Sequence[Columns], stream: str) -> list[Rows]:
    arrays: list[Rows] = []
    for one in columns:
        if stream not in one.streams:
            raise ConfigError(
                f"split {one.split!r} has no {stream}",
                hint=f"build the data with {modality_of(stream).window_key()}=...",
            )
        arrays.append(one.streams[stream])
    if len({array.shape[1:] for array in arrays}) > 1:
        raise ConfigError(
            f"{stream} ({modality_of(stream).axes}) differs between data folders: "
            f"{[array.shape[1:] for array in arrays]}"
        )
    return arrays


def _numbered_on(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Consecutive numbering over several datasets, so that no number occurs in two of them."""
    begin, out = 0, []
    for part in parts:
        out.append(part + begin)
        begin += int(part.max()) + 1
    return np.concatenate(out)


def _finite_rows(array: Rows) -> np.ndarray:
    """(N,) bool: rows of an (N, ...) array that are all finite; a block at a time, so a memory map stays on disk."""
    chunks = (array[i : i + _CHUNK] for i in range(0, len(array), _CHUNK))
    blocks = [np.isfinite(chunk).all(axis=tuple(range(1, chunk.ndim))) for chunk in chunks]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)
