"""A small data folder with a teacher that knows what the windows show, and what a test needs to train on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from imu_video.encoders.base import check_tensor
from imu_video.modalities import SkeletonSpec
from imu_video.registry import encoders
from imu_video.runtime.distributed import World
from imu_video.runtime.signals import STOP
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window
from pretrain.config import PretrainConfig
from pretrain.prepare.components import Components, resolve
from pretrain.prepare.data import Data
from pretrain.prepare.prepare import Prepared, check_request, open_data, prepare

T, RATE, PLACEMENTS, TEACHER_DIM = 50, 25.0, ("waist", "wrist"), 12
FINGERPRINT = "feedfacecafe"
JOINTS = ("pelvis", "neck", "left_hip", "right_hip", "left_hand", "right_hand")
SKELETON_FPS, SKELETON_FRAMES = 10.0, 20


def make_window(split: str, i: int, latent: np.ndarray) -> Window:
    """Oscillations whose tempo, size and direction are the latent; every seventh window lacks the wrist."""
    rng = np.random.default_rng([len(split), i])
    time = np.arange(T) / RATE
    tempo, size, lean = 1.0 + latent[0], 1.0 + latent[1], latent[2]
    wave = np.sin(2 * np.pi * tempo * time + rng.uniform(0, 2 * np.pi))
    values = np.stack([size * wave, lean + 0 * wave, 9.8 + size * wave**2, lean * wave, tempo * wave, size * wave])
    imu = {
        name: (values * (1 + 0.3 * k) + rng.normal(0, 0.1, (6, T))).astype(np.float32)
        for k, name in enumerate(PLACEMENTS)
        if not (name == "wrist" and i % 7 == 0)
    }
    imu["waist"][3:, :5] = np.nan
    return Window(
        key=f"made-{split}-{i:05d}",
        recording=f"{split}-r{i // 8}",
        subject=f"{split}-s{i // 32}",
        session="1",
        start=2.0 * (i % 8),
        imu=imu,
        label=None,
    )


def make_skeleton(i: int, latent: np.ndarray) -> np.ndarray:
    """(F, J, 3): an upright body whose hands swing at the tempo and size of the latent."""
    rng = np.random.default_rng([11, i])
    rest = np.array([[0, 1, 0], [0, 1.5, 0], [-0.1, 1, 0], [0.1, 1, 0], [-0.4, 1, 0.1], [0.4, 1, 0.1]])
    time = np.arange(SKELETON_FRAMES) / SKELETON_FPS
    swing = 0.2 * (1 + latent[1]) * np.sin(2 * np.pi * (1 + latent[0]) * time + rng.uniform(0, 2 * np.pi))
    joints = np.repeat(rest[None], SKELETON_FRAMES, axis=0)
    joints[:, 4:, 1] += swing[:, None]
    joints[:, 4:, 0] += latent[2] * 0.2
    return (joints + rng.normal(0, 0.01, joints.shape)).astype(np.float32)


def make_data(root: Path, samples: Mapping[str, int], *, skeletons: bool = False) -> Index:
    """A data folder and its teacher cache; a few teacher rows are missing, with skeletons on request."""
    made, features = {}, {}
    mix = np.random.default_rng(5).normal(size=(3, TEACHER_DIM))
    for split, count in samples.items():
        latent = np.random.default_rng([7, len(split)]).uniform(0, 1, (count, 3))
        made[split] = [make_window(split, i, latent[i]) for i in range(count)]
        if skeletons:
            made[split] = [
                replace(w, streams={"skeleton": make_skeleton(i, latent[i])}) for i, w in enumerate(made[split])
            ]
        features[split] = (np.tanh(latent @ mix) * 3 + 5).astype(np.float32)
        features[split][::19] = np.nan
    index = write_folder(
        root,
        made,
        rate_hz=RATE,
        specs={"skeleton": SkeletonSpec(fps=SKELETON_FPS, frames=SKELETON_FRAMES, joints=JOINTS)},
        placements=PLACEMENTS,
        shard_samples=256,
    )
    write_teacher(index, features)
    return index


def write_teacher(index: Index, features: Mapping[str, np.ndarray], fingerprint: str = FINGERPRINT) -> None:
    """A teacher cache as `imu-video embed` would leave it."""
    folder = index.root / "teachers" / fingerprint
    folder.mkdir(parents=True)
    for split, rows in features.items():
        np.save(folder / f"{split}.npy", rows)
    spec = {"fingerprint": fingerprint, "index": index.digest, "spec": {"name": "made", "licence": "CC0-1.0"}}
    (folder / "teacher.json").write_text(json.dumps(spec))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Folder of 160 training and 64 validation windows with a cached teacher; read only."""
    return make_data(tmp_path_factory.mktemp("pretrain") / "data", {"train": 160, "val": 64})


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The same with a skeleton in every window; read only."""
    return make_data(tmp_path_factory.mktemp("moving") / "data", {"train": 160, "val": 64}, skeletons=True)


@pytest.fixture(scope="session")
def data_maker() -> Callable[[Path, Mapping[str, int]], Index]:
    """`make_data`."""
    return make_data


def raw_config(root: Path, **sections: Any) -> dict[str, Any]:
    """A config that trains in seconds; sections are merged key by key."""
    base: dict[str, Any] = {
        "name": "made",
        "data": {"root": str(root), "batch_size": 32},
        "encoder": {"name": "patch_tst", "width": 16, "layers": 1, "heads": 2, "ffn": 32, "patch": 10, "stride": 10},
        "projector": {"dim": 16, "dropout": 0.1},
        "augment": [{"name": "rotate", "max_degrees": 20}, {"name": "jitter"}, {"name": "cutout"}],
        "optim": {"steps": 12, "lr": 3e-3},
        "run": {"log_every": 1, "validate_every": 5, "checkpoint_every": 4, "device": "cpu", "threads": 1},
    }
    for name, value in sections.items():
        base[name] = {**base[name], **value} if isinstance(value, dict) and isinstance(base.get(name), dict) else value
    return base


@pytest.fixture(scope="session")
def raw() -> Callable[..., dict[str, Any]]:
    """`raw_config`."""
    return raw_config


def opened(config: PretrainConfig) -> Data:
    """The data folders of a config, after the checks of config and folders."""
    return open_data(config, check_request(config, World()))


def resolved(config: PretrainConfig, *, teacher: str = FINGERPRINT) -> PretrainConfig:
    """A config as a run would save it, for windows of 6 channels and 100 samples."""
    components = Components.of(config).with_data(encoder={"channels": 6, "samples": 100})
    return resolve(config, components, dim=config.projector.dim or 128, teacher=teacher, precision="fp32")


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Callable[..., Prepared]]:
    """`prepare` with a run folder that nothing writes to; what it opened is closed after the test."""
    with ExitStack() as stack:
        options = {"folder": tmp_path / "not written"}
        yield lambda config, **more: stack.enter_context(prepare(config, **{**options, **more}))


@pytest.fixture
def make_config(data: Index) -> Callable[..., PretrainConfig]:
    """A validated config on the shared data folder: ``make_config(optim={"steps": 3})``."""
    return lambda **sections: PretrainConfig.model_validate(raw_config(data.root, **sections))


@pytest.fixture
def config_file(data: Index, tmp_path: Path) -> Callable[..., Path]:
    """The same as a file."""

    def write(**sections: Any) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(raw_config(data.root, **sections)))
        return file

    return write


@pytest.fixture
def no_handlers() -> Iterator[None]:
    """As in a new process: pytest-timeout handles SIGALRM, and handlers of others stay."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOP if number != signal.SIGINT}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start ``imu-pretrain`` in a process of its own."""

    def begin(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pretrain", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    return begin


@encoders.register("test_no_tokens")
class NoTokens(nn.Module):
    """An encoder of one vector a window only."""

    def __init__(self, *, channels: int = 6) -> None:
        super().__init__()
        self.channels, self.feature_dim = channels, 4
        self.linear = nn.Linear(channels, 4)

    def forward(self, imu: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        check_tensor(imu)
        return self.linear(imu.mean(-1))
