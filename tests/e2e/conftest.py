"""A small data folder of made-up subjects with an encoder, for the commands of imu-eval."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build

PLUGIN = Path(__file__).parent / "eval_people.py"
ENCODER = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}
LINEAGE = {
    "run_id": "abc",
    "dataset": {"dataset": "eval_people", "subjects": {"train": ["s0", "s1"], "val": []}},
    "config": {"data.train_split": "train", "data.val_split": None},
}


@pytest.fixture(scope="session")
def eval_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `data`, split into train (2 people) and test (6), and `encoder`; read only."""
    root = tmp_path_factory.mktemp("eval")
    load_plugin(PLUGIN)
    config = {
        "dataset": {"name": "eval_people"},
        "window": {"seconds": 2, "rate_hz": 32, "stride_s": 1, "clip_fps": 5, "clip_size": 32},
        "splits": {"subjects": {"train": ["s0", "s1"], "test": [f"s{i}" for i in range(2, 8)]}},
    }
    build(validate(config, BuildConfig, source="test"), root / "data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
        EncoderBundle(spec=spec, encoder=ENCODER).save(root / "encoder", lineage=LINEAGE)
    return root
