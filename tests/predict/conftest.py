"""A table of one subject at rest and walking, a data folder with the same two activities, and an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
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
