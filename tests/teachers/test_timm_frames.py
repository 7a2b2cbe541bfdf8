"""Frame teachers: the ImageNet weights are what they claim to be, and pooling and transform follow their equations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from imu_video.config import read_yaml
from imu_video.errors import ConfigError
from imu_video.registry import teachers
from imu_video.teachers.pictures import Pooling, pool_frames
from imu_video.teachers.timm_frames import FrameTeacher, load_backbone, load_lite0

ROOT = Path(__file__).resolve().parents[2]
PALACE, BELL_COTE, DAISY = 698, 442, 985
"""ImageNet-1k class numbers."""


def test_lite0_names_what_is_on_two_photographs() -> None:
    """scikit-learn's photographs of the Summer Palace and of a flower: classes that a person would accept."""
    photographs = dict(zip(("china.jpg", "flower.jpg"), load_sample_images().images, strict=True))
    network = load_lite0().eval()
    transform = FrameTeacher(frames=1).transform
    with torch.no_grad():
        top = {
            name: network(transform(torch.from_numpy(np.array(picture))[None])).softmax(-1)[0].topk(2)
            for name, picture in photographs.items()
        }
    assert top["china.jpg"].indices.tolist() == [PALACE, BELL_COTE]
    assert top["flower.jpg"].indices[0] == DAISY
    assert top["china.jpg"].values[0] > 0.25
    assert top["flower.jpg"].values[0] > 0.15


def test_teacher_features_are_the_network_without_its_head() -> None:
    teacher = FrameTeacher(frames=2, image_size=64)
    x = torch.randint(0, 256, (2, 2, 80, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = load_lite0().eval()
    with torch.no_grad():
        naive = torch.stack(
            [network.forward_head(network.forward_features(teacher.transform(c)), pre_logits=True).mean(0) for c in x]
        )
    torch.testing.assert_close(teacher.encode(x), naive, atol=1e-5, rtol=1e-4)
    assert teacher.feature_dim == 1280


def test_transform_takes_the_middle_square_and_normalises() -> None:
    teacher = FrameTeacher(weights="random:0", image_size=32, frames=1)
    frames = torch.zeros(1, 32, 64, 3, dtype=torch.uint8)
    frames[:, :, :16] = 255  # left of the middle square
    frames[:, :, 16:48] = 191
    expected = torch.full((1, 3, 32, 32), (191 - 127) / 128)
    torch.testing.assert_close(teacher.transform(frames).contiguous(), expected)
    scaled = teacher.transform(torch.full((1, 90, 70, 3), 63, dtype=torch.uint8))
    torch.testing.assert_close(scaled.contiguous(), torch.full((1, 3, 32, 32), -0.5))


@pytest.mark.parametrize("pooling", ["mean", "std", "mean_std", "mean_diff", "segments"])
def test_pooling_equals_loops(pooling: Pooling) -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    rows = []
    for clip in x:
        mean = sum(clip) / 5
        if pooling == "mean":
            rows.append(mean)
        elif pooling == "std":
            rows.append(np.sqrt(sum((f - mean) ** 2 for f in clip) / 5))
        elif pooling == "mean_std":
            rows.append(np.concatenate([mean, np.sqrt(sum((f - mean) ** 2 for f in clip) / 5)]))
        elif pooling == "mean_diff":
            rows.append(np.concatenate([mean, sum(abs(clip[i + 1] - clip[i]) for i in range(4)) / 4]))
        else:
            rows.append(np.concatenate([clip[:3].mean(0), clip[3:].mean(0)]))
    np.testing.assert_allclose(pool_frames(torch.from_numpy(x), pooling).numpy(), np.stack(rows), atol=1e-12)


def test_one_frame_has_no_change_and_too_few_segments_are_refused() -> None:
    assert pool_frames(torch.ones(1, 1, 2), "mean_diff").tolist() == [[1, 1, 0, 0]]
    with pytest.raises(ConfigError, match="needs at least 2 frames, the clip has 1"):
        pool_frames(torch.ones(1, 1, 2), "segments", 2)


@pytest.mark.parametrize(
    ("have", "take", "expected"), [(6, 6, [0, 1, 2, 3, 4, 5]), (9, 3, [1, 4, 7]), (2, 4, [0, 1]), (10, 1, [5])]
)
def test_frames_are_the_middles_of_equal_stretches(have: int, take: int, expected: list[int]) -> None:
    assert FrameTeacher(weights="random:0", image_size=32, frames=take).sample_indices(have) == expected


def test_weights_from_a_file_and_what_does_not_fit(tmp_path: Path) -> None:
    source = load_backbone("tf_efficientnet_lite0", "random:5")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = load_backbone("tf_efficientnet_lite0", str(tmp_path / "w.safetensors"))
    for a, b in zip(source.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
    for weights, words in [
        ("random:x", "random:SEED"),
        (str(tmp_path / "no"), "No such file"),
        ("pip:efficientnet_lite0", "fit tf_"),
    ]:
        with pytest.raises(ConfigError, match=words):
            load_backbone("resnet18", weights)
    with pytest.raises(ConfigError, match="timm has no model"):
        load_backbone("efficientnot", "random:0")


def test_no_hub_is_an_error_not_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(ConfigError, match="could not be downloaded: OSError"):
        load_backbone("resnet18", "hub")


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "teacher").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_build(path: Path) -> None:
    config = read_yaml(path)
    if config["name"] == "hf":  # its weights are a download: the arguments must fit, tests/teachers/test_hub.py builds
        assert teachers.arguments(config)[1]["model"].count("/") == 1
        return
    teacher = teachers.build(config)
    assert teacher.feature_dim > 0
    assert len(teacher.fingerprint) == 12
