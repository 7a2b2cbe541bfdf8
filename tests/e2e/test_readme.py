"""The five commands of the README, taken from the README, on a made-up folder of CSV and MP4 files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import imu_video
from imu_video.modalities.mp4 import encode_mp4

ROOT = Path(__file__).resolve().parents[2]
PEOPLE, SECONDS, RATE, FPS = 8, 16, 60, 5
# What makes the pipeline short enough for a test; every word before it is the README's.
SHORT = {
    "imu-video build": ["window.seconds=2", "window.stride_s=1", "window.clip_size=32"],
    "imu-video embed": ["image_size=32", "frames=2"],
    "imu-pretrain launch": [
        "data.batch_size=16", "optim.steps=4", "encoder.width=16", "encoder.layers=1", "run.device=cpu", "run.threads=1"
    ],
    "imu-eval fewshot": ["episodes.episodes=4", "references.untrained_seeds=[0]"],
}  # fmt: skip


def commands() -> list[list[str]]:
    """The shell block with `imu-eval fewshot` in README.md, one list of words per line."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    (block,) = [text for kind, text in blocks if not kind and "imu-eval fewshot" in text]
    return [shlex.split(line) for line in block.strip().splitlines()]


def record(root: Path) -> None:
    """Eight subjects sit and walk: accelerometer in g, gyroscope in deg/s, a film of a bar that moves with them."""
    rng = np.random.default_rng(0)
    (root / "dataset.yaml").write_text(
        "dataset: readme\nlicence: CC0-1.0\n"
        "imu:\n  time: {column: ms, unit: ms}\n"
        "  channels: {acc_x: ax, acc_y: ay, acc_z: az, gyr_x: gx, gyr_y: gy, gyr_z: gz}\n"
        "  units: {acc: g, gyr: deg/s}\n"
        "placements: {waist: }\n"
        "files:\n  imu: '{subject}_{recording}.csv'\n"
        "  video: '{subject}_{recording}.mp4'\n  labels: '{subject}_{recording}.txt'\n"
        "label_files: {unit: ms}\n"
    )
    time = np.arange(SECONDS * RATE) / RATE
    for person in range(PEOPLE):
        name = f"s{person}_day1"
        moving = time >= SECONDS / 2
        swing = np.where(moving, np.sin(2 * np.pi * (1.5 + 0.1 * person) * time), 0)
        imu = rng.normal(0, 0.01, (len(time), 6))
        imu[:, 2] += 1 + 0.3 * swing
        imu[:, 4] += 60 * swing
        table = pd.DataFrame(imu, columns=["ax", "ay", "az", "gx", "gy", "gz"])
        table.insert(0, "ms", np.round(time * 1000, 3))
        table.to_csv(root / f"{name}.csv", index=False)
        frames = np.full((SECONDS * FPS, 32, 32, 3), 40, np.uint8)
        for i, s in enumerate(swing[:: RATE // FPS]):
            left = int(14 + 10 * s)
            frames[i, :, left : left + 4] = 220
        (root / f"{name}.mp4").write_bytes(encode_mp4(frames, FPS))
        half = SECONDS * 500
        (root / f"{name}.txt").write_text(f"start,end,label\n0,{half},sit\n{half},{2 * half},walk\n")


@pytest.mark.slow  # every command of the road, at 40 s; the parts have tests of their own
def test_the_road_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    record(tmp_path / "recordings")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    lines = commands()
    assert [" ".join(words[:2]) for words in lines] == [
        "imu-video build",
        "imu-video embed",
        "imu-pretrain launch",
        "imu-pretrain export",
        "imu-eval fewshot",
    ]
    for words in lines:
        program = Path(sys.executable).with_name(words[0])
        short = SHORT.get(" ".join(words[:2]), [])
        done = subprocess.run([program, *words[1:], *short], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    results = (tmp_path / "results.jsonl").read_text()
    assert '"model": "pretrained"' in results
    assert '"model": "handcrafted"' in results
    encoder = imu_video.load_encoder(tmp_path / "encoders" / "mine")
    still = np.zeros((2, 6, 250), np.float32)
    still[:, 2] = 9.81
    features = encoder.encode(still, rate_hz=104)
    assert features.shape == (2, encoder.feature_dim)
    assert np.isfinite(features).all()
