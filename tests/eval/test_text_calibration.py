"""Calibration of a text head: a smaller error on subjects left out, the same predictions, refusals, old folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.data.windows import LabelledWindows
from eval.text_calibration import calibrate_text, write_calibrated
from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.text import TextHead, TextSpec, make_head
from imu_video.errors import CheckpointError, ConfigError, LeakageError, ShardError
from imu_video.metrics.calibration import expected_calibration_error, reliability_bins

Make = Callable[..., LabelledWindows]
NAMES = ("walk", "run", "sit", "stand")
NOISY = {"separable": 0.12, "recordings": 1}


def named(windows: LabelledWindows) -> LabelledWindows:
    return replace(windows, classes=NAMES[: len(windows.classes)])


@pytest.fixture(scope="module")
def encoder(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text head that was fitted on other subjects, and that is far too sure of itself."""
    spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bundle = EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})
    windows = make(people=8, seed=1, **NOISY)
    features = torch.from_numpy(bundle.encode(windows.x, rate_hz=32, check_units=False))
    rows = torch.nn.functional.layer_norm(features, features.shape[1:])
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1).double()
    wanted = torch.eye(4, dtype=torch.float64)[windows.labels] - 0.25
    gram = rows.T @ rows + 10.0 * torch.eye(rows.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, rows.T @ wanted).float()
    network = make_head(features=features.shape[1], width=4, hidden=None)
    with torch.no_grad():
        network[1].weight.copy_(weight[:-1].T)  # type: ignore[index]
        network[1].bias.copy_(weight[-1])  # type: ignore[index]
    text = TextSpec(
        feature_dim=features.shape[1], text_dim=4, scale=50, encoder={"name": "not_installed"}, fingerprint="0" * 12,
        activities=NAMES, seen=NAMES,
    )  # fmt: skip
    bundle.text = TextHead(spec=text, network=network, centre=torch.full((4,), 0.25), activities=torch.eye(4))
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s90"], "val": []}}}
    return bundle.save(tmp_path_factory.mktemp("calibrated") / "encoder", lineage=lineage)


def errors(bundle: EncoderBundle, windows: LabelledWindows) -> float:
    """Expected calibration error of predictions by text."""
    classifier = bundle.text_head.classifier(NAMES, seconds=2.0)
    p = classifier.probabilities(bundle.encode(windows.x, rate_hz=32, check_units=False))
    return float(expected_calibration_error(reliability_bins(p.max(1), p.argmax(1) == windows.labels)))


def test_probabilities_of_new_subjects_are_better_calibrated(encoder: Path, make: Make, tmp_path: Path) -> None:
    before = load_encoder(encoder)
    found = calibrate_text(before, [named(make(people=8, seed=2, **NOISY))])
    assert found.temperature > 2
    assert found.ece < found.ece_before / 2
    assert [(one.dataset, one.subjects, one.activities) for one in found.data] == [("made", 8, tuple(sorted(NAMES)))]
    after = load_encoder(write_calibrated(encoder, tmp_path / "out", found))
    other = named(make(people=8, seed=3, **NOISY))
    assert errors(after, other) < errors(before, other) / 2
    features = before.encode(other.x, rate_hz=32, check_units=False)
    both = [one.text_head.classifier(NAMES, seconds=2.0).probabilities(features).argmax(1) for one in (before, after)]
    np.testing.assert_array_equal(both[0], both[1])
    assert after.weights_sha256 == before.weights_sha256
    assert after.text_head.spec.calibration == found
    assert "expected calibration error" in (tmp_path / "out" / "README.md").read_text()
    assert load_encoder(after.save(tmp_path / "again")).text_head.spec.calibration == found


def test_datasets_of_different_activities_share_one_temperature(encoder: Path, make: Make) -> None:
    bundle = load_encoder(encoder)
    first, second = named(make(people=3, seed=4, **NOISY)), named(make(people=3, classes=2, seed=5, **NOISY))
    found = calibrate_text(bundle, [first, replace(second, dataset="other")])
    assert [len(one.activities) for one in found.data] == [4, 2]
    alone = [calibrate_text(bundle, [one]).temperature for one in (first, replace(second, dataset="other"))]
    assert min(alone) <= found.temperature <= max(alone)
    spelt = replace(first, classes=("walking", "running", "sitting", "standing"))
    assert calibrate_text(bundle, [spelt]).temperature == pytest.approx(calibrate_text(bundle, [first]).temperature)


def test_what_cannot_be_calibrated_is_refused(encoder: Path, make: Make, tmp_path: Path) -> None:
    bundle, windows = load_encoder(encoder), named(make(people=2, seed=6, **NOISY))
    with pytest.raises(ShardError, match="labelled windows of 1 subject"):
        calibrate_text(bundle, [windows.take(np.flatnonzero(windows.subject == "s00"))])
    with pytest.raises(ConfigError, match="made: its windows have 1 activity"):
        calibrate_text(bundle, [windows.take(np.flatnonzero(windows.labels == 0))])
    trained = {**windows.facts, "subject": np.where(windows.subject == "s00", "s90", windows.subject)}
    with pytest.raises(LeakageError, match="pretrained on 1 of the query subjects"):
        calibrate_text(bundle, [replace(windows, facts=trained)])
    found = calibrate_text(bundle, [windows])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not empty"):
        write_calibrated(encoder, tmp_path / "full", found)
    bundle.text = None
    with pytest.raises(ConfigError, match="no text head"):
        calibrate_text(bundle, [windows])


def test_a_head_without_a_calibration_is_stored_as_before(encoder: Path) -> None:
    section = json.loads((encoder / "config.json").read_text())["text"]
    assert "calibration" not in section
    spec = load_encoder(encoder).text_head.spec
    assert (spec.calibration, spec.sharpness) == (None, 50)
