"""Every kind of damaged file by name, and the kinds outside data folders; used by `million.py` and `test_seeds.py`."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.data_kinds import ColumnsKind, IndexKind, ShardKind, TeacherKind
from tests.faults.kind import FileKind, Kind, as_yaml, outcome
from tests.faults.mutate import damaged_bytes


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
            wrong = outcome(lambda: self._load(path), (str(path), path.name, str(self.root)))
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
