"""Every published recipe as shipped, on small made data: it trains, resumes in the same bits, exports, and loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import load_encoder
from imu_video.config import load_config, read_yaml
from imu_video.errors import ConfigError
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.reporter import StopSignal
from pretrain.observe.trackers import read_log
from pretrain.run import run

PRETRAIN = Path(__file__).resolve().parents[2] / "configs" / "pretrain"
# `text` needs labels and a text encoder: tests/pretrain/test_text_alignment.py.
RECIPES = sorted(p.stem for p in PRETRAIN.glob("*.yaml") if p.stem not in ("base", "text"))
COMMON = [
    "data.batch_size=16",
    "optim.steps=4",
    "run.validate_every=4",
    "run.device=cpu",
    "run.threads=1",
    "run.log_every=1",
]
# Smaller networks, so that the whole file takes seconds; everything else stays as shipped.
PATCH_TST = ["encoder.width=16", "encoder.layers=1", "encoder.heads=2"]
SMALL: dict[str, list[str]] = {
    "cmc_cmkm": ["encoder.width=16", "tower.width=16", "tower.frames=16"],
    "collossl": ["encoder.width=8"],
    "hard_negative": ["encoder.width=16", "tower.width=16", "tower.frames=16"],
    "imu2clip": ["encoder.hidden=16"],
    "ssl_wearables": ["encoder.width=8"],
}
QUEUED = {"comodo": "loss.0.size=32", "primus": "loss.2.size=32"}
WITHOUT_TEACHER = {"collossl", "masked_patchtst", "simclr_imu", "ssl_wearables"}


def recipe(name: str, root: Path, *more: str) -> PretrainConfig:
    small = [*COMMON, *SMALL.get(name, PATCH_TST), *([QUEUED[name]] if name in QUEUED else [])]
    return load_config(PRETRAIN / f"{name}.yaml", PretrainConfig, [f"data.root={root}", *small, *more])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest")).model


@pytest.mark.parametrize("name", RECIPES)
def test_trains_resumes_and_exports(name: str, moving: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe(name, moving.root)
    run(config, folder=tmp_path / "whole")
    asked = iter([False, True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(config, folder=tmp_path / "parts").state.step == 2
    run(config, folder=tmp_path / "parts")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    lines = [line for line in read_log(tmp_path / "whole" / "log.jsonl") if line["kind"] == "train"]
    assert len(lines) == 4
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)

    done = export(tmp_path / "whole", tmp_path / "encoder")
    assert done.difference <= 1e-6
    encoder = load_encoder(tmp_path / "encoder")
    assert encoder.lineage["recipe"] == config.name
    assert (encoder.lineage["teacher"]["fingerprint"] == "none") == (
        name in WITHOUT_TEACHER or (config.tower is not None and name != "cmc_cmkm")
    )
    features = encoder.encode(open_columns(moving, "val").select("waist"), rate_hz=25.0)
    assert features.shape == (64, encoder.feature_dim)
    assert np.isfinite(features).all()


def test_the_recipes_of_the_field_are_there() -> None:
    wanted = {
        "imu_video_sigmoid", "imu2clip", "comodo", "hard_negative", "cmc_cmkm", "collossl", "masked_patchtst",
        "simclr_imu", "ssl_wearables", "primus", "imu_video",
    }  # fmt: skip
    assert wanted <= set(RECIPES)
    for name in wanted:
        assert read_yaml(PRETRAIN / f"{name}.yaml")["name"] == name.replace("_", "-"), "runs are named after recipes"


def test_the_hard_negatives_also_train_against_a_cached_teacher(moving: Index, tmp_path: Path) -> None:
    run(recipe("comodo", moving.root, "loss=[{name: queue_distill, size: 32}]"), folder=tmp_path / "distilled")
    mean = weights(tmp_path / "distilled")["model.imu_projector.norm.weight"]
    assert len(mean) == 12  # null: the teacher's width
    config = load_config(
        PRETRAIN / "hard_negative.yaml",
        PretrainConfig,
        [f"data.root={moving.root}", *COMMON, "encoder.width=16", "tower=null"],
    )
    run(config, folder=tmp_path / "run")
    assert not any("tower" in key for key in weights(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("comodo", ["projector.teacher=mlp"], "distils towards the video embedding"),
        ("comodo", ["tower={name: skeleton, width: 4, frames: 16}"], "which a tower would train"),
        ("comodo", ["loss.0.size=8"], "a queue of 8 is shorter than the global batch of 16"),
        ("collossl", ["data.placements=[waist]"], "compares devices, but there is one: waist"),
        ("collossl", ["loss.0.policy=mid_selection"], "needs 5 devices, the run has 2"),
        ("collossl", ["loss.0.anchor=7"], "anchor 7 is never worn"),
        ("simclr_imu", ["augment=[]"], "augment is empty"),
        ("cmc_cmkm", ["data.teacher=none"], "data.teacher is none"),
        ("masked_patchtst", ["encoder={name: test_no_tokens}"], "no features over time"),
    ],
)
def test_what_a_recipe_cannot_do_is_said_at_once(
    name: str, more: list[str], words: str, moving: Index, tmp_path: Path
) -> None:
    config: Any = load_config(PRETRAIN / f"{name}.yaml", PretrainConfig, [f"data.root={moving.root}", *COMMON, *more])
    with pytest.raises(ConfigError, match=words):
        run(config, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
