"""Labelled windows as arrays with subjects, placements and tags; no splitting and no features here.

`eval.data.source.open_labelled` reads them from any layout; `load_windows` reads those of a data folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imu_video.errors import ConfigError, ShardError, nearest

if TYPE_CHECKING:
    from imu_video.shards.reading.columns import Columns
    from imu_video.shards.schema import Index

BUILT_IN = ("placement", "recording", "session", "split", "subject")
"""Facts of every window; a `where` filter may name them like tags. A tag of such a name is the fact ``tag_NAME``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledWindows:
    """Windows with labels: one row per window and device, so a sample with V devices gives up to V rows.

    Args:
        x: (N, C, T) float32 in ``units`` at ``rate_hz``, NaN where missing; every row has a measurement.
        labels: (N,) int64 numbers into ``classes``.
        classes: names of the classes, sorted; M of them.
        facts: name -> (N,) str array: subject, placement, recording, session, split and every tag ("" = no tag).
        start: (N,) float64 seconds on the recording's clock; see ``timed``.
        sample: (N,) int64 row of the sample in its split's columns, or in the array.
        dataset: name of the dataset.
        digest: identity of the shards.
        rate_hz: sampling rate of ``x``.
        window_s: window length in seconds.
        channels: names of the C channels.
        units: unit of every channel; None: those of the canonical channels, m/s^2 and rad/s.
        gravity: whether accelerations include gravity: ``included``, ``removed``, ``mixed`` or ``unknown``.
        normalised: ``none``, ``recording`` or ``unknown``, as in `InputSpec`.
        timed: whether recordings and times are known. If not, ``start`` is the number of the row times half a window,
            so that neighbouring rows count as overlapping, and all windows of a subject are of one recording.
        teacher: (N, Dt) frozen teacher features, NaN rows where the sample has none; or None.
        teacher_name: fingerprint of the teacher; or None.

    Raises:
        ShardError: arrays whose lengths differ.
    """

    x: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    facts: Mapping[str, np.ndarray]
    start: np.ndarray
    sample: np.ndarray
    dataset: str
    digest: str
    rate_hz: float
    window_s: float
    channels: tuple[str, ...]
    units: Mapping[str, str] | None = None
    gravity: Literal["included", "removed", "mixed", "unknown"] = "included"
    normalised: Literal["none", "recording", "unknown"] = "none"
    timed: bool = True
    teacher: np.ndarray | None = None
    teacher_name: str | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 3 or self.x.shape[1] != len(self.channels):
            raise ShardError(f"windows have shape {self.x.shape}, expected (N, C, T) with C={len(self.channels)}")
        lengths = {"labels": len(self.labels), "start": len(self.start), "sample": len(self.sample)}
        lengths |= {name: len(column) for name, column in self.facts.items()}
        if self.teacher is not None:
            lengths["teacher"] = len(self.teacher)
        wrong = {name: n for name, n in lengths.items() if n != len(self.x)}
        if wrong:
            raise ShardError(f"{len(self.x)} windows, but {wrong} entries")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def remarks(self) -> list[str]:
        """Sentences that qualify figures made from these windows."""
        if self.timed:
            return []
        return [
            f"{self.dataset}: times and recordings of the windows are unknown; overlap is judged by the order of rows"
        ]

    @property
    def subject(self) -> np.ndarray:
        """(N,) names of the subjects."""
        return self.facts["subject"]

    @property
    def recording(self) -> np.ndarray:
        """(N,) names of the recordings."""
        return self.facts["recording"]

    def rows(
        self,
        *,
        splits: Sequence[str] | None = None,
        placements: Sequence[str] | None = None,
        where: Mapping[str, str | Sequence[str]] | None = None,
    ) -> np.ndarray:
        """Row numbers that match every filter; None matches any.

        Args:
            splits: splits to keep.
            placements: placements to keep.
            where: fact or tag name -> value, or list of values, to keep.

        Raises:
            ConfigError: a fact or value that no window has.
        """
        wanted: dict[str, str | Sequence[str]] = dict(where or {})
        if splits is not None:
            wanted["split"] = splits
        if placements is not None:
            wanted["placement"] = placements
        keep = np.ones(len(self), dtype=bool)
        for name, values in wanted.items():
            if name not in self.facts:
                raise ConfigError(f"filter {name!r}: no such tag{nearest(name, self.facts)}")
            column = self.facts[name]
            accepted = [values] if isinstance(values, str) else list(values)
            for value in accepted:
                if not np.any(column == value):
                    raise ConfigError(
                        f"filter {name}={value!r} keeps no labelled window{nearest(value, set(column.tolist()))}"
                    )
            keep &= np.isin(column, accepted)
        return np.flatnonzero(keep)

    def take(self, rows: np.ndarray) -> LabelledWindows:
        """The windows of the given row numbers, in that order."""
        return replace(
            self,
            x=self.x[rows],
            labels=self.labels[rows],
            facts={name: column[rows] for name, column in self.facts.items()},
            start=self.start[rows],
            sample=self.sample[rows],
            teacher=None if self.teacher is None else self.teacher[rows],
        )


def load_windows(
    index: Index,
    *,
    splits: Sequence[str],
    placements: Sequence[str] | None = None,
    teacher: Any | None = None,
) -> LabelledWindows:
    """Read the labelled windows of some splits of a data folder.

    Args:
        index: from ``imu_video.shards.reading.index.load_index``.
        splits: names of splits.
        placements: devices to keep; all when None.
        teacher: an open teacher cache, whose rows are attached; or None.

    Raises:
        ConfigError: unknown split or placement.
        ShardError: no labelled window in these splits, or values that no motion has in m/s^2 and rad/s.
    """
    from imu_video.shards.batches.arrays import channel_statistics
    from imu_video.shards.reading.columns import open_columns
    from imu_video.shards.reading.plausible import check_signals

    for split in splits:
        if split not in index.splits:
            raise ConfigError(
                f"split {split!r} is not in the data{nearest(split, index.splits)}",
                hint="select another split in the config, or divide the data folder by subject: "
                "imu-video split DATA OUT CONFIG",
            )
    for placement in placements or ():
        if placement not in index.placements:
            raise ConfigError(f"placement {placement!r} is not in the data{nearest(placement, index.placements)}")
    parts = []
    for split in dict.fromkeys(splits):
        rows = None if teacher is None else np.asarray(teacher.rows(split))
        columns = open_columns(index, split)
        check_signals(channel_statistics(columns, placements), index, split)
        parts.append(_split_rows(columns, split, placements, rows))
    names = sorted({label for part in parts for label in part["label"].tolist()})
    if not names:
        raise ShardError(
            f"splits {list(splits)} have no labelled window",
            hint="probes require labels: use a labelled data folder or another --split",
        )
    tags = sorted({tag for part in parts for row in part["tags"] for tag in row})
    facts = {name: np.concatenate([part[name] for part in parts]) for name in BUILT_IN}
    for tag in tags:
        # Data built from published lists of recordings has the part of the list in a tag `split`.
        name = f"tag_{tag}" if tag in BUILT_IN else tag
        if name in facts:
            raise ShardError(f"tags {tag!r} and {name!r} have the same name", hint="rename one in the recordings")
        facts[name] = np.array([str(row.get(tag, "")) for part in parts for row in part["tags"]])
    label = np.concatenate([part["label"] for part in parts])
    return LabelledWindows(
        x=np.concatenate([part["x"] for part in parts]),
        labels=np.searchsorted(np.array(names), label).astype(np.int64),
        classes=tuple(names),
        facts=facts,
        start=np.concatenate([part["start"] for part in parts]),
        sample=np.concatenate([part["sample"] for part in parts]),
        dataset=index.dataset,
        digest=index.digest,
        rate_hz=float(index.rate_hz),
        window_s=float(index.window_s),
        channels=tuple(index.channels),
        units=dict(index.units),
        gravity=index.gravity,
        normalised=index.normalised,
        teacher=None if teacher is None else np.concatenate([part["teacher"] for part in parts]),
        teacher_name=None if teacher is None else teacher.fingerprint,
    )


def streams_of(windows: LabelledWindows, index: Index, modality: str) -> np.ndarray:
    """Another modality of every window's sample, (N, ...) in its stored axes, NaN where a sample lacks it.

    Args:
        windows: read from ``index``.
        index: of the data folder.
        modality: one whose decoded arrays are in the columns, such as ``skeleton`` (N, F, J, 3) in metres.

    Raises:
        ConfigError: the data contains no such stream, or it is not stored as arrays.
    """
    # Here, because both import torch, which the command line does without until it has read its arguments.
    from imu_video.modalities.base import modality_of
    from imu_video.shards.reading.columns import open_columns

    if modality not in index.streams:
        raise ConfigError(
            f"{index.dataset}: the data contains no {modality} stream",
            hint=f"build it with {modality_of(modality).window_key()}, e.g. 12.5",
        )
    if not modality_of(modality).in_columns:
        raise ConfigError(f"{modality} is stored encoded in the shards, so it is not available as an array per window")
    out: np.ndarray | None = None
    for split in np.unique(windows.facts["split"]).tolist():
        rows = np.flatnonzero(windows.facts["split"] == split)
        held = open_columns(index, split).streams[modality]
        if out is None:
            out = np.empty((len(windows), *held.shape[1:]), dtype=np.float32)
        out[rows] = held[windows.sample[rows]]
    assert out is not None
    return out


def _split_rows(
    columns: Columns, split: str, placements: Sequence[str] | None, teacher: np.ndarray | None
) -> dict[str, Any]:
    """The labelled windows of one split, flattened over devices, sample by sample."""
    names = list(columns.placements)
    devices = [v for v, name in enumerate(names) if placements is None or name in placements]
    labelled = np.array([label is not None for label in columns.labels], dtype=bool)
    sample, device = np.nonzero((labelled[:, None] & np.asarray(columns.present))[:, devices])
    device = np.asarray(devices, dtype=np.int64)[device]

    def column(values: Sequence[Any]) -> np.ndarray:
        return np.array([str(values[int(i)]) for i in sample], dtype=np.str_)

    out: dict[str, Any] = {
        "x": np.ascontiguousarray(columns.imu[sample, device], dtype=np.float32),
        "label": column(columns.labels),
        "placement": np.array([names[v] for v in device], dtype=np.str_),
        "subject": column(columns.subjects),
        "recording": column(columns.recordings),
        "session": column(columns.sessions),
        "split": np.full(len(sample), split),
        "start": np.asarray(columns.start, dtype=np.float64)[sample],
        "sample": sample.astype(np.int64),
        "tags": [columns.tags[i] for i in sample.tolist()],
    }
    if teacher is not None:
        out["teacher"] = np.asarray(teacher[sample], dtype=np.float32)
    return out
