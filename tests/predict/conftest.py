"""A table of one subject at rest and walking, a data folder with the same two activities, and an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.text import TextHead, TextSpec, make_head
from imu_video.testing import write_folder
from imu_video.types import Window

RATE_HZ, SECONDS = 50.0, 2.0


def motion(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """(6, T) in m/s^2 and rad/s."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swing = np.sin(2 * np.pi * 1.8 * time) if label == "walk" else np.zeros(len(time))
    values = rng.normal(0, 0.2, (6, len(time)))
    values[0] += 4 * swing
    values[2] += 9.81
    values[4] += 2 * swing
    return values.astype(np.float32)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = InputSpec(rate_hz=RATE_HZ, window_s=SECONDS, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bundle = EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})
    return bundle.save(tmp_path_factory.mktemp("encoder") / "mine")


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> EncoderBundle:
    return load_encoder(encoder_folder)


@pytest.fixture(scope="session")
def text_encoder_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder with a text head that knows rest from walking: the direction between them in its features."""
    bundle = load_encoder(encoder_folder)
    rng = np.random.default_rng(3)
    means = []
    for label in ("rest", "walk"):
        windows = np.stack([motion(label, SECONDS, rng) for _ in range(8)])
        means.append(normalize_rows(bundle.encode(windows, rate_hz=RATE_HZ)).mean(0))
    network = make_head(features=bundle.feature_dim, width=4, hidden=None)
    with torch.no_grad():
        weight = torch.zeros(4, bundle.feature_dim)
        direction = torch.from_numpy(means[1] - means[0])
        weight[0] = direction
        network[1].weight.copy_(weight)  # type: ignore[index]
        network[1].bias.copy_(torch.tensor([-float(direction @ torch.from_numpy(sum(means) / 2)), 0, 0, 0]))  # type: ignore[index]
    spec = TextSpec(
        feature_dim=bundle.feature_dim, text_dim=4, scale=10, encoder={"name": "not_installed"}, fingerprint="0" * 12,
        activities=("stand", "walk"), seen=("stand", "walk"),
    )  # fmt: skip
    sentences = torch.tensor([[-1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    bundle.text = TextHead(spec=spec, network=network, centre=torch.zeros(4), activities=sentences)
    return bundle.save(tmp_path_factory.mktemp("text") / "mine")


def normalize_rows(features: np.ndarray) -> np.ndarray:
    """What the first layer of a text head does."""
    return np.asarray(torch.nn.functional.layer_norm(torch.from_numpy(features), features.shape[1:]))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def split(name: str) -> Iterator[Window]:
        for subject in range(3):
            rng = np.random.default_rng([len(name), subject])
            for i in range(8):
                label = ("rest", "walk")[i % 2]
                yield Window(
                    key=f"{name}{subject}-{i:04d}",
                    recording=f"{name}{subject}",
                    subject=f"{name}{subject}",
                    session="1",
                    start=SECONDS * i,
                    imu={"wrist": motion(label, SECONDS, rng)},
                    label=label,
                )

    root = tmp_path_factory.mktemp("data") / "made"
    write_folder(root, {name: split(name) for name in ("train", "test")}, rate_hz=RATE_HZ, dataset="made")
    return root


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of rest, then 8 s of walking, with units that the values determine."""
    rng = np.random.default_rng(7)
    values = np.concatenate([motion("rest", 8, rng), motion("walk", 8, rng)], axis=1)
    time = np.arange(values.shape[1]) / RATE_HZ
    path = tmp_path_factory.mktemp("csv") / "walk.csv"
    header = "time_s,acc_x,acc_y,acc_z,gyr_x_rad,gyr_y_rad,gyr_z_rad"
    np.savetxt(path, np.column_stack([time, values.T]), delimiter=",", header=header, comments="", fmt="%.6f")
    return path
