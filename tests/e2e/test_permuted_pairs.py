"""The control of pretraining: paired with another window's teacher, an encoder gains nothing; with its own, it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.metrics.ranking import retrieval_chance
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.trackers import read_log
from pretrain.run import run
from tests.pretrain.conftest import make_data, raw_config

COUNTS = {"train": 320, "val": 128, "test": 256}
LABELLED, GALLERY, SEEDS = 40, 64, (0, 1, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_data(tmp_path_factory.mktemp("control") / "data", COUNTS, skeletons=True)


def pretrained(index: Index, folder: Path, *, control: str, seed: int, **sections: Any) -> tuple[float, Path]:
    """MRR among held-out true pairs after 100 steps, and the exported encoder."""
    options: dict[str, Any] = {
        "optim": {"steps": 100, "lr": 5e-3},
        "run": {"validate_every": 100, "checkpoint_every": 100, "gallery": GALLERY, "log_every": 100},
        "augment": [],
        **sections,
    }
    raw = raw_config(index.root, seed=seed, data={"control": control}, **options)
    run(PretrainConfig.model_validate(raw), folder=folder / "run")
    scores = [line for line in read_log(folder / "run" / "log.jsonl") if line["kind"] == "validate"]
    assert scores[-1]["gallery"] == GALLERY
    return scores[-1]["mrr"], export(folder / "run", folder / "encoder", checkpoint="latest").folder


def probed(index: Index, encoder: EncoderBundle) -> float:
    """Accuracy of a linear probe with few labels: tempo, size and direction, each above its median or not."""
    features, latent = {}, {}
    for split in ("val", "test"):
        columns = open_columns(index, split)
        features[split] = encoder.encode(columns.select("waist"), rate_hz=columns.rate_hz)
        latent[split] = np.random.default_rng([7, len(split)]).uniform(0, 1, (COUNTS[split], 3)) > 0.5
    hits = []
    for k in range(3):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        probe.fit(features["val"][:LABELLED], latent["val"][:LABELLED, k])
        hits.append(probe.score(features["test"], latent["test"][:, k]))
    return float(np.mean(hits))


@pytest.mark.slow  # pretrains nine small encoders
def test_only_true_pairs_help(made: Index, tmp_path: Path) -> None:
    """Three seeds: with true pairs a probe gains over untrained encoders, with permuted ones it does not."""
    accuracy: dict[str, list[float]] = {"none": [], "permuted_pairs": [], "untrained": []}
    found: dict[str, list[float]] = {"none": [], "permuted_pairs": []}
    for seed in SEEDS:
        for control in ("none", "permuted_pairs"):
            mrr, folder = pretrained(made, tmp_path / f"{control}{seed}", control=control, seed=seed)
            encoder = load_encoder(folder)
            found[control].append(mrr)
            accuracy[control].append(probed(made, encoder))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = json.loads((folder / "config.json").read_text())
            untrained = EncoderBundle(spec=encoder.spec, encoder=config["encoder"]).eval()
        accuracy["untrained"].append(probed(made, untrained))
    chance = retrieval_chance(GALLERY, ks=(1,))["MRR"]
    # The reciprocal of a uniform rank has a standard deviation of 0.14 here: 0.01 for the mean over both directions,
    # all queries and seeds if they were independent; twice that is allowed on each side.
    assert abs(np.mean(found["permuted_pairs"]) - chance) < 0.03
    assert min(found["none"]) > 5 * chance
    mean = {name: np.mean(values) for name, values in accuracy.items()}
    assert mean["none"] > mean["untrained"] + 0.05
    assert mean["permuted_pairs"] < mean["untrained"] + 0.025


@pytest.mark.slow  # the same control for another recipe
def test_a_tower_learns_nothing_from_permuted_skeletons(made: Index, tmp_path: Path) -> None:
    tower: dict[str, Any] = {
        "tower": {"name": "skeleton", "width": 8, "frames": 16, "segments": 2},
        "optim": {"steps": 100, "lr": 2e-3},
    }
    chance = retrieval_chance(GALLERY, ks=(1,))["MRR"]
    true, _ = pretrained(made, tmp_path / "true", control="none", seed=0, **tower)
    permuted, _ = pretrained(made, tmp_path / "permuted", control="permuted_pairs", seed=0, **tower)
    assert true > 2 * chance
    assert permuted < 1.6 * chance
