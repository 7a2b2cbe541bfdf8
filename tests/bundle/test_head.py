"""The head folder: what is saved is read back, damage and other encoders are refused, thresholds keep their promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imu_video.bundle.head import Head, HeadSpec, choose_threshold, fit_temperature, load_head
from imu_video.errors import CheckpointError


@pytest.fixture
def head() -> Head:
    rng = np.random.default_rng(0)
    spec = HeadSpec(
        classes=("sit", "stand", "walk"), feature_dim=4, seconds=5.0, placements=("wrist",), temperature=1.7
    )
    return Head(
        spec=spec, weight=rng.normal(size=(4, 3)), bias=rng.normal(size=3), encoder="ab" * 32, evidence={"dataset": "d"}
    )


def test_a_head_is_read_back_exactly(head: Head, tmp_path: Path) -> None:
    again = load_head(head.save(tmp_path / "head"), encoder="ab" * 32)
    features = np.random.default_rng(1).normal(size=(5, 4))
    assert np.array_equal(again.probabilities(features), head.probabilities(features))
    assert (again.spec, again.evidence) == (head.spec, head.evidence)
    naive = np.exp((features @ head.weight + head.bias) / 1.7)
    assert np.allclose(again.probabilities(features), naive / naive.sum(axis=1, keepdims=True))


def test_a_head_of_another_encoder_is_refused(head: Head, tmp_path: Path) -> None:
    head.save(tmp_path / "head")
    with pytest.raises(CheckpointError, match="abababababab, 4 features, got encoder cdcd"):
        load_head(tmp_path / "head", encoder="cd" * 32)
    with pytest.raises(CheckpointError, match="not empty"):
        head.save(tmp_path / "head")


class _Encoder:
    """The facts of an encoder that a head compares."""

    def __init__(self, weights: str, *, name: str = "", source: str = "", width: int = 4) -> None:
        self.weights_sha256, self.name, self.source_sha256, self.feature_dim = weights, name, source, width


def test_a_head_of_an_earlier_version_is_refused_with_the_command_that_fits_it_again(
    head: Head, tmp_path: Path
) -> None:
    head.evidence["encoder_name"] = "imu-video/small"
    folder = head.save(tmp_path / "head")
    with pytest.raises(CheckpointError) as caught:
        load_head(folder, encoder=_Encoder("cd" * 32, name="imu-video/small"))
    assert "got imu-video/small (encoder cdcdcdcdcdcd, 4 features)" in caught.value.message
    assert "imu-video/small was trained or exported again" in caught.value.message
    assert caught.value.hint == (
        "fit the head again on the labelled windows of d: imu-eval fit-head imu-video/small DATA --out HEAD"
    )
    with pytest.raises(CheckpointError) as caught:
        load_head(folder, encoder=_Encoder("cd" * 32, name="imu-video/base"))
    assert "again since" not in caught.value.message
    assert "name the encoder that it was fitted with, imu-video/small" in str(caught.value.hint)


def test_equal_width_is_no_proof_of_the_same_encoder(head: Head) -> None:
    for encoder in (_Encoder("ab" * 32), _Encoder("ef" * 32, source="ab" * 32), _Encoder("")):
        head.check_encoder(encoder)
    for encoder in (_Encoder("cd" * 32), _Encoder("ef" * 32, source="cd" * 32), _Encoder("ab" * 32, width=5)):
        with pytest.raises(CheckpointError, match="the head: fitted on the features of encoder abab"):
            head.check_encoder(encoder)


def test_damage_is_refused(head: Head, tmp_path: Path) -> None:
    folder = head.save(tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    for change in (
        {"classes": ["a"]},
        {"classes": ["", "b", "c"]},
        {"feature_dim": 3},
        {"temperature": 0},
        {"unknown": 1},
    ):
        (folder / "config.json").write_text(json.dumps({**config, "head": {**config["head"], **change}}))
        with pytest.raises(CheckpointError):
            load_head(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(CheckpointError, match="sha256"):
        load_head(folder)


@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.8, 0.9, 0.99]))
def test_accepted_predictions_reach_the_desired_accuracy_if_any_threshold_does(seed: int, accuracy: float) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(1, 100, 200) / 100
    correct = rng.random(200) < confidence
    threshold, share = choose_threshold(confidence, correct, accuracy=accuracy)
    accepted = confidence >= threshold
    assert accepted.mean() == pytest.approx(share)
    reachable = [t for t in np.unique(confidence) if correct[confidence >= t].mean() >= accuracy]
    if reachable:
        assert correct[accepted].mean() >= accuracy
        assert share == max((confidence >= t).mean() for t in reachable)


def test_the_temperature_minimises_the_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 3)) * 6
    labels = np.array([rng.choice(3, p=np.exp(s / 3) / np.exp(s / 3).sum()) for s in scores])

    def loss(temperature: float) -> float:
        p = np.exp(scores / temperature)
        return float(-np.log(p[np.arange(400), labels] / p.sum(axis=1)).mean())

    found = fit_temperature(scores, labels)
    assert found == pytest.approx(3, rel=0.25)
    assert loss(found) <= min(loss(found * f) for f in (0.9, 1.1)) + 1e-9
