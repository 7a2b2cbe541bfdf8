"""What is damaged and what counts as right, by kind of file; used by `million.py` and `test_seeds.py`.

A kind makes small intact files once. `Kind.check(seed)` damages one of them, lets our code read it, and returns None
where the outcome is right: an error of ours that names the file or key, or the intact content. Anything else is
described in words: another exception, other content without a word. A crash of the process is seen by `million.py`.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from imu_video.errors import ImuVideoError
from imu_video.shards.schema import Index
from tests.faults.archives import damaged_archive
from tests.faults.mutate import damaged_bytes, damaged_json, damaged_lines, damaged_npy, damaged_structure
from tests.shards.conftest import make_folder

Damager = Callable[[bytes, np.random.Generator], tuple[str, bytes]]
SAMPLES = {"train": 8, "val": 4}
LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [" % (i, i) + b"*a%d, " % (i - 1) * 9 + b"]\n" for i in range(1, 10)
)
"""A document of a few hundred bytes that stands for 10^9 values."""


def as_json(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a JSON file as a document."""
    return damaged_json(json.loads(data), rng)


def damager(path: Path) -> Damager:
    """The way to damage a file, from the end of its name."""
    ways: dict[str, Damager] = {".json": as_json, ".jsonl": damaged_lines, ".npy": damaged_npy, ".yaml": as_yaml}
    ways[".zip"] = damaged_archive
    return ways.get(path.suffix, damaged_bytes)


def as_yaml(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a YAML file: its structure (written as YAML or as JSON, which YAML contains), its text, or its bytes."""
    chance = rng.random()
    if chance < 0.4:
        name, changed = damaged_structure(yaml.safe_load(data), rng)
        return name, yaml.safe_dump(changed, sort_keys=False).encode(errors="replace")
    if chance < 0.8:
        return damaged_json(yaml.safe_load(data), rng)
    if chance < 0.9:
        extra = (
            LAUGHS,
            b"a: &a {b: *a}\n", b"a: &a [*a]\n", b"? [a, b]\n: 1\n", b"<<: *missing\n", b"a: !!python/name:os.system\n",
            b"a: !!binary x\n", b"a: !!timestamp 2001-99-99\n", b"1: 2\n", b"null: 1\n", b"yes: no\n",
            b"---\na: 1\n---\n",
            b"a: 1_000\nb: 0o17\nc: 1:30\n", b"extends: null\n", b"extends: [1]\n", b"\tx: 1\n", b"a: .inf\nb: .nan\n",
            b"seed: .inf\n", b"seed: 1e400\n", b"name: ${HOME\n", b"name: ${}\n", b"a: |\n", b"%YAML 9.9\n---\n",
        )  # fmt: skip
        which = int(rng.integers(len(extra)))
        return f"yaml_{which}", data + b"\n" + extra[which] if rng.random() < 0.5 else extra[which] + data
    return damaged_bytes(data, rng)


class Kind:
    """Base of the kinds.

    Args:
        root: an empty folder of this kind, preferably in memory.
    """

    name: ClassVar[str]

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        logging.getLogger("imu_video").setLevel(logging.CRITICAL)
        logging.getLogger("pretrain").setLevel(logging.CRITICAL)
        self.prepare()

    def prepare(self) -> None:
        """Make the intact files."""
        raise NotImplementedError

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        """Damage, read, compare, restore: name of the damage, and what was wrong or None."""
        raise NotImplementedError

    def check(self, seed: int) -> str | None:
        """None where the outcome of this seed is right, otherwise what was wrong."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), seed])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            way, wrong = self.once(rng)
        return None if wrong is None else f"{way}: {wrong}"


def outcome(read: Callable[[], str | None], names: tuple[str, ...]) -> str | None:
    """None where ``read`` returns None or raises an error of ours whose message contains one of ``names``."""
    try:
        return read()
    except ImuVideoError as error:
        if not error.message.strip():
            return "an error without a message"
        if not any(name in str(error) for name in names):
            return f"the message names none of {names}: {error.message[:200]!r}"
        return None
    except MemoryError:
        return "MemoryError"
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = "" if where is None else f" at {Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
        return f"{type(error).__name__}{line}: {str(error)[:200]}"


class FileKind(Kind):
    """A kind whose damage is in one of the files below ``root``."""

    def targets(self) -> list[Path]:
        """Files to damage."""
        raise NotImplementedError

    def read(self) -> str | None:
        """Read the damaged files; None where all is right."""
        raise NotImplementedError

    def prepare(self) -> None:
        self.make()
        self.intact = {path: path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}
        self.chosen = self.targets()
        assert self.chosen, f"{self.name}: nothing to damage in {self.root}"

    def make(self) -> None:
        """Write the intact files below ``root``."""
        raise NotImplementedError

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        path = self.chosen[int(rng.integers(len(self.chosen)))]
        way, data = damager(path)(self.intact[path], rng)
        path.write_bytes(data)
        self.damaged = path
        try:
            wrong = outcome(self.read, (str(self.root), path.name, *self.words()))
        finally:
            self.restore()
        return f"{path.relative_to(self.root)}, {way}", wrong

    def words(self) -> tuple[str, ...]:
        """Further words of which one makes a message precise."""
        return ()

    def restore(self) -> None:
        """Put the intact files back and remove what reading made."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_file() and path not in self.intact:
                path.unlink()
        for path, data in self.intact.items():
            if (
                not path.is_file()
                or path.stat().st_size != len(data)
                or path == self.damaged
                or path.read_bytes() != data
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    path.unlink()  # never through a memory map of the damaged file
                path.write_bytes(data)


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


class EncoderKind(FileKind):
    """An exported encoder: refused, or an encoder whose features are finite numbers."""

    name = "encoder"

    def make(self) -> None:
        import torch

        from imu_video.bundle.encoder import EncoderBundle
        from imu_video.bundle.input_spec import InputSpec

        torch.manual_seed(0)
        spec = InputSpec(rate_hz=20, window_s=1, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.5,) * 3)
        encoder = {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 8}
        EncoderBundle(spec=spec, encoder=encoder).save(self.root / "encoder")
        self.windows = np.random.default_rng(0).normal(size=(1, 6, 20)).astype(np.float32)
        self.windows[:, 2] += 9.8

    def targets(self) -> list[Path]:
        # the card is for people; the config is damaged four times as often as the weights, which a hash covers
        return [self.root / "encoder" / "config.json"] * 4 + [self.root / "encoder" / "model.safetensors"]

    def words(self) -> tuple[str, ...]:
        return ("encoder", "window", "channel", "rate_hz", "shape", "registered", "known:")

    def read(self) -> str | None:
        from imu_video.bundle.encoder import load_encoder
        from imu_video.types import IMU_CHANNELS

        bundle = load_encoder(self.root / "encoder")
        features = np.asarray(bundle.encode(self.windows, channels=IMU_CHANNELS, rate_hz=20))
        return None if np.isfinite(features).all() else "features that are not finite"


class CheckpointKind(FileKind):
    """A checkpoint folder with its pointers: refused, or the intact state."""

    name = "checkpoint"

    def make(self) -> None:
        import torch

        from pretrain.checkpoints.store import Checkpoint, CheckpointStore

        store = CheckpointStore(self.root / "run" / "checkpoints", keep=2)
        for step in (5, 10):
            generator = torch.Generator().manual_seed(step)
            model = {"w": torch.randn(4, 3, generator=generator), "b": torch.zeros(3)}
            state = {"state": {"step": step, "best": {"rule": "loss", "value": 1.5, "step": 5}, "history": [0.1, 0.2]}}
            checkpoint = Checkpoint(model=model, optimizer={"m": torch.randn(5, generator=generator)}, state=state)
            store.write(step, checkpoint)
        self.truth = {name: self._content(store, name) for name in store.names()}

    @staticmethod
    def _content(store: Any, name: str) -> Any:
        one = store.read(store.folder / name)
        tensors = {key: value.numpy().tobytes() for key, value in {**one.model, **one.optimizer}.items()}
        return tensors, json.dumps(one.state, sort_keys=True)

    def targets(self) -> list[Path]:
        return sorted(self.intact)

    def words(self) -> tuple[str, ...]:
        return ("checkpoint",)

    def read(self) -> str | None:
        from pretrain.checkpoints.store import CheckpointStore

        store = CheckpointStore(self.root / "run" / "checkpoints", keep=2)
        path = store.resolve("latest")
        if self._content(store, path.name) != self.truth.get(path.name):
            return f"{path.name} with other content"
        kept = {name for name in self.truth if (store.folder / name).is_dir()}
        return None if kept == set(self.truth) else "a checkpoint was deleted"


class LogKind(FileKind):
    """log.jsonl of a run: tables without a traceback, and no line of intact numbers is changed."""

    name = "log"

    def make(self) -> None:
        run = self.root / "run"
        run.mkdir()
        (run / "config.yaml").write_text("name: made\n")
        self.lines = [{"kind": "train", "step": step, "loss": 1 / step, "seconds": 0.5} for step in range(1, 9)]
        self.lines.append({"kind": "validate", "step": 8, "r@1": 0.25, "loss": 1.5})
        (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.lines))

    def targets(self) -> list[Path]:
        return [self.root / "run" / "log.jsonl"]

    def read(self) -> str | None:
        from pretrain.observe.status import describe
        from pretrain.observe.trackers import read_log

        lines = read_log(self.root / "run" / "log.jsonl")
        if not all(isinstance(line, dict) for line in lines):
            return "a line that is no object"
        describe(self.root / "run")
        return None


class ArchiveKind(FileKind):
    """A ZIP of CSV files, plain and nested: an error, or all intact members."""

    name = "archive"

    def make(self) -> None:
        rng = np.random.default_rng(0)
        texts = {f"s{i}/walk_{i}.csv": b"t,x\n" + b"%d,%d\n" % (i, rng.integers(99)) * 40 for i in range(4)}
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
        for name, kind in {"plain": zipfile.ZIP_STORED, "packed": zipfile.ZIP_DEFLATED}.items():
            with zipfile.ZipFile(self.root / f"{name}.zip", "w", kind) as archive:
                for member, text in texts.items():
                    archive.writestr(member, text)
                archive.writestr("readme.txt", "made up")
        with zipfile.ZipFile(self.root / "nested.zip", "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("part1.zip", inner.getvalue())
            archive.writestr("part2.zip", inner.getvalue())
        self.truth = {path: self._content(path) for path in self.targets()}

    @staticmethod
    def _content(path: Path) -> list[tuple[str, bytes]]:
        from imu_video.readers.members import Members

        return sorted(Members(path).flat(".csv"))  # another folder in a name is another place

    def targets(self) -> list[Path]:
        return [self.root / f"{name}.zip" for name in ("plain", "packed", "nested")]

    def read(self) -> str | None:
        found = self._content(self.damaged)
        return None if found == self.truth[self.damaged] else f"{len(found)} members, with other names or content"


class ClipKind(Kind):
    """Encoded clips: an error of ours, or frames of the declared shape; the process survives."""

    name = "clip"

    def prepare(self) -> None:
        from imu_video.modalities.mp4 import encode_mp4

        rng = np.random.default_rng(0)
        base = rng.integers(0, 255, (12, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        self.clips = [encode_mp4(base, 5.0), encode_mp4(base[:3], 10.0)]
        self.counts = [12, 3]

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        from imu_video.modalities.mp4 import decode_into

        which = int(rng.integers(len(self.clips)))
        way, data = damaged_bytes(self.clips[which], rng)
        out = np.zeros((self.counts[which], 32, 32, 3), np.uint8)

        def read() -> str | None:
            try:
                decode_into(data, list(range(self.counts[which])), out)
            except ValueError as error:  # what the decoder documents; the reader turns it into an error with the key
                return None if str(error).strip() else "ValueError without a message"
            return None

        return way, outcome(read, ("clip", "frame", "mp4", "video", "decod"))


class ConfigKind(Kind):
    """Shipped configs: an error of ours that names the file or key, or a config with a digest that can be written."""

    name = "config"

    def prepare(self) -> None:
        from imu_video.config import shipped

        for path in (self.root, self.root.with_name("configs")):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(shipped(), self.root)
        self.files = sorted(
            path for folder in ("pretrain", "data", "eval") for path in (self.root / folder).glob("*.yaml")
        )
        self.texts = {path: path.read_bytes() for path in self.files}

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        path = self.files[int(rng.integers(len(self.files)))]
        way, data = as_yaml(self.texts[path], rng)
        path.write_bytes(data)
        try:
            wrong = outcome(
                lambda: self._load(path), (str(path), path.name, str(self.root), "/etc/passwd")
            )  # a value of `extends`
        finally:
            path.write_bytes(self.texts[path])
        return f"{path.relative_to(self.root)}, {way}", wrong

    def _load(self, path: Path) -> str | None:
        from eval.config import EvalConfig
        from imu_video.config import digest, dump_yaml, load_config
        from imu_video.shards.building.build import BuildConfig
        from pretrain.config import PretrainConfig

        models: dict[str, Any] = {"pretrain": PretrainConfig, "data": BuildConfig, "eval": EvalConfig}
        config = load_config(path, models[path.parent.name])
        digest(config)
        dump_yaml(config)
        return None


KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        IndexKind, ConfigKind, ShardKind, ClipKind, ArchiveKind,
        ColumnsKind, TeacherKind, EncoderKind, CheckpointKind, LogKind,
    )
}  # fmt: skip
