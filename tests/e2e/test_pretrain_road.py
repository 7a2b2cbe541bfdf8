"""The commands one after another on a small simulated world: build, embed, launch, status, export, load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer.testing
import yaml

import imu_video
from imu_video.cli.app import app as imu_video_app
from imu_video.config import shipped
from imu_video.errors import TeacherCacheError
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from pretrain.cli import app as pretrain_app

SMALL = [
    "encoder.width=16",
    "encoder.layers=1",
    "encoder.heads=2",
    "encoder.ffn=32",
    "optim.steps=8",
    "data.batch_size=16",
    "run.device=cpu",
    "run.validate_every=4",
]


def command(app: typer.Typer, *arguments: object) -> str:
    result = typer.testing.CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_road(tmp_path: Path) -> None:
    build = {
        "dataset": {
            "name": "synthetic",
            "groups": [{"prefix": "a", "count": 4, "seconds_per_activity": 8.0}],
            "activities": ["walk", "jumping_jacks", "sit"],
            "placements": ["waist", "left_wrist"],
        },
        "window": {"seconds": 2.0, "stride_s": 1.0, "rate_hz": 25, "skeleton_fps": 5},
        "splits": {"subjects": {"train": ["a00", "a01"], "val": ["a02", "a03"]}},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build))
    (tmp_path / "teacher.yaml").write_text("name: tiny\nmodality: skeleton\n")
    data, run, encoder = tmp_path / "data", tmp_path / "run", tmp_path / "encoder"
    base = shipped() / "pretrain" / "base.yaml"
    launch = ("launch", base, f"data.root={data}", *SMALL, "--run", run)

    command(imu_video_app, "build", tmp_path / "build.yaml", data)
    with pytest.raises(TeacherCacheError, match="has no teacher features"):
        command(pretrain_app, *launch)
    assert not run.exists()
    command(imu_video_app, "embed", data, tmp_path / "teacher.yaml")
    first = command(pretrain_app, *launch)
    assert "done: 8 steps" in first
    assert f"imu-pretrain export {run} OUT" in first
    assert "step-00000008" in command(pretrain_app, "status", run)
    assert "largest difference 0.0e+00" in command(pretrain_app, "export", run, encoder, "--checkpoint", "latest")

    columns = open_columns(load_index(data), "val")
    bundle = imu_video.load_encoder(encoder)
    features = bundle.encode(columns.select("waist"), rate_hz=25)
    assert features.shape == (len(columns), bundle.feature_dim)
    assert np.isfinite(features).all()
    assert bundle.lineage["dataset"]["subjects"] == {"train": ["a00", "a01"], "val": ["a02", "a03"]}

    again = command(pretrain_app, "launch", run / "config.yaml", "--run", tmp_path / "repeated")
    assert "done: 8 steps" in again
    weights = [
        (f / "checkpoints" / "step-00000008" / "model.safetensors").read_bytes() for f in (run, tmp_path / "repeated")
    ]
    assert weights[0] == weights[1]  # the resolved config determines the run
