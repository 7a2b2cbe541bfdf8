"""Kinds of files of a data folder: index, shards, columns, teacher features; other files are in kinds.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imu_video.shards.schema import Index
from tests.faults.kind import SAMPLES, FileKind, damager, outcome
from tests.shards.conftest import make_folder


def samples_of(index: Index, split: str) -> dict[str, tuple[Any, ...]]:
    """Key -> everything in a sample, comparable, in the order of the index."""
    from imu_video.shards.reading.pipeline import read_samples

    found: dict[str, tuple[Any, ...]] = {}
    for sample in read_samples(index, split):
        imu = tuple(sorted((name, values.tobytes()) for name, values in sample.imu.items()))
        streams = tuple(
            (name, one if isinstance(one, bytes) else one.tobytes())
            for name, one in sorted(sample.streams.items())
            if one is not None
        )
        found[sample.key] = (imu, streams, repr(sorted(sample.meta.items())))
    return found


class IndexKind(FileKind):
    """index.json, and an array of offsets beside it where there is one: refused, or the samples of the intact folder in
    their order; where the order or the split of samples differs, the digest differs, or `verify` reports it."""

    name = "index"

    def make(self) -> None:
        from imu_video.shards.reading.index import load_index

        make_folder(self.root / "data", SAMPLES)
        index = load_index(self.root / "data")
        self.digest = index.digest
        self.samples = {split: samples_of(index, split) for split in index.splits}

    def targets(self) -> list[Path]:
        return sorted(
            path
            for path in (self.root / "data").rglob("*")
            if path.is_file() and path.name.startswith(("index", "members-"))
        )

    def words(self) -> tuple[str, ...]:
        return ("sample ", "member ", "split", "shard", "index")

    def read(self) -> str | None:
        from imu_video.shards.reading.index import load_index
        from imu_video.shards.reading.verify import verify

        index = load_index(self.root / "data")
        here = {split: samples_of(index, split) for split in index.splits}
        if {split: list(found) for split, found in here.items()} == {
            s: list(found) for s, found in self.samples.items()
        }:
            return None if here == self.samples or self._renamed(here) else "samples with other content"
        if index.digest != self.digest:
            return None  # another data set by name: caches and runs of the intact one do not fit it
        return None if verify(index).problems else "other order or splits, the same digest, and verify finds nothing"

    def _renamed(self, here: dict[str, dict[str, tuple[Any, ...]]]) -> bool:
        """Whether only streams that the index no longer declares, or the names of datasets, differ."""
        return all(here[split][key][0] == one[0] for split, found in self.samples.items() for key, one in found.items())


class ShardKind(FileKind):
    """Tars with intact index: every sample that is read is intact; every other one is reported."""

    name = "sample"

    def make(self) -> None:
        from imu_video.shards.reading.index import load_index

        make_folder(self.root / "data", SAMPLES)
        self.index = load_index(self.root / "data")
        self.samples = samples_of(self.index, "train")
        self.raw: dict[str, dict[str, bytes]] = {}
        for shard in self.index.split("train").shards:
            data = self.index.shard_path(shard).read_bytes()
            for key, members in shard.keys.items():
                self.raw[key] = {suffix: data[offset : offset + size] for suffix, (offset, size) in members.items()}

    def targets(self) -> list[Path]:
        return [self.index.shard_path(self.index.split("train").shards[0])]

    def words(self) -> tuple[str, ...]:
        return ("sample ", "member ")

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        return self._member(rng) if rng.random() < 0.6 else super().once(rng)

    def read(self) -> str | None:
        from imu_video.shards.damage import Damage
        from imu_video.shards.reading.pipeline import read_samples

        damage = Damage()
        keys = [sample.key for sample in read_samples(self.index, "train", damage=damage)]
        if sorted([*keys, *damage.left_out]) != sorted(self.samples):
            return f"{len(keys)} read and {len(damage.left_out)} left out of {len(self.samples)}"
        found = samples_of(self.index, "train") if not damage.left_out else {}
        return "a damaged sample was given out" if any(self.samples[key] != one for key, one in found.items()) else None

    def _member(self, rng: np.random.Generator) -> tuple[str, str | None]:
        """A member with other bytes under its own checksum, as a faulty writer makes it."""
        from imu_video.shards.reading.pipeline import decode_sample
        from imu_video.shards.schema import SampleMeta

        keys = list(self.raw)
        key = keys[int(rng.integers(len(keys)))]
        suffixes = [suffix for suffix in self.raw[key] if not suffix.endswith(".mp4")]
        suffix = suffixes[int(rng.integers(len(suffixes)))]
        way, data = damager(Path(suffix))(self.raw[key][suffix], rng)

        def read() -> str | None:
            sample = decode_sample(self.index, key, {**self.raw[key], suffix: data})
            shape = (6, self.index.samples_per_window)
            for values in sample.imu.values():
                if values.shape != shape or values.dtype != np.float32:
                    return f"IMU of shape {values.shape}, {values.dtype}"
            SampleMeta.model_validate(sample.meta)
            return None if sample.meta["key"] == key else "metadata of another sample"

        return f"{suffix}, {way}", outcome(read, (key, suffix))


class ColumnsKind(FileKind):
    """Columns of a split: refused, written again, or the intact values; never others."""

    name = "columns"

    def make(self) -> None:
        make_folder(self.root / "data", SAMPLES)
        self.truth = self._content()

    def targets(self) -> list[Path]:
        return sorted(path for path in (self.root / "data" / "columns").rglob("*") if path.is_file())

    def words(self) -> tuple[str, ...]:
        return ("columns",)

    def _content(self) -> dict[str, Any]:
        from imu_video.shards.reading.columns import open_columns
        from imu_video.shards.reading.index import load_index

        columns = open_columns(load_index(self.root / "data"), "train")
        rows = np.arange(len(columns))
        found: dict[str, Any] = {}
        for name, value in vars(columns).items():
            if name.startswith("_") or callable(value):
                continue
            if isinstance(value, dict) and name == "streams":
                found[name] = {stream: np.asarray(one[rows]).tobytes() for stream, one in value.items()}
            elif isinstance(value, np.ndarray) or hasattr(value, "__array__"):
                found[name] = np.asarray(value[rows]).tobytes()
            else:
                found[name] = repr(value)
        return found

    def read(self) -> str | None:
        found = self._content()
        other = [name for name, value in self.truth.items() if found.get(name) != value]
        return f"other values of {', '.join(other)}" if other else None


class TeacherKind(FileKind):
    """Cached teacher features: refused, or the intact rows; never others."""

    name = "teacher"

    def make(self) -> None:
        from imu_video.shards.features.embed import embed
        from imu_video.shards.reading.index import load_index

        make_folder(self.root / "data", SAMPLES)
        self.index = load_index(self.root / "data")
        self.cache = embed(self.index, {"name": "tiny", "dim": 8, "modality": "skeleton"})
        self.rows = {split: np.array(self.cache.rows(split)).tobytes() for split in self.index.splits}

    def targets(self) -> list[Path]:
        return sorted(path for path in self.cache.folder.rglob("*") if path.is_file())

    def words(self) -> tuple[str, ...]:
        return ("teacher", "features")

    def read(self) -> str | None:
        from imu_video.shards.reading.teacher_cache import open_cache

        cache = open_cache(self.index)
        every = {split: np.arange(entry.samples) for split, entry in self.index.splits.items()}
        other = [
            split for split, rows in every.items() if np.array(cache.rows(split)[rows]).tobytes() != self.rows[split]
        ]
        return f"other rows of {', '.join(other)}" if other else None
