"""Components by name through `imu_video` itself."""

from __future__ import annotations

import pytest

import imu_video
from imu_video import registry
from imu_video.errors import ConfigError

KINDS = {
    "encoders": (imu_video.list_encoders, imu_video.create_encoder, {"name": "resnet1d", "width": 4}),
    "losses": (imu_video.list_losses, imu_video.create_loss, {"name": "info_nce", "temperature": 0.5}),
    "objectives": (imu_video.list_objectives, imu_video.create_objective, {"name": "masked_patches", "patch": 8}),
    "teachers": (imu_video.list_teachers, imu_video.create_teacher, {"name": "tiny"}),
    "datasets": (imu_video.list_datasets, imu_video.create_dataset, {"name": "synthetic", "fps": 5}),
    "augmentations": (imu_video.list_augmentations, imu_video.create_augmentation, {"name": "jitter", "p": 0.5}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_builds_what_is_registered(kind: str) -> None:
    names, create, entry = KINDS[kind]
    assert names() == registry.ALL[kind].names()
    assert type(create(**entry)) is registry.ALL[kind].get(str(entry["name"]))
    with pytest.raises(ConfigError, match="unknown"):
        create("no_such_component")
    with pytest.raises(ConfigError, match="no_such_argument"):
        create(**entry, no_such_argument=1)


def test_patterns_match_whole_names() -> None:
    everything = imu_video.list_encoders()
    assert imu_video.list_encoders("*tst*") == ["patch_tst"]
    assert imu_video.list_encoders("tst") == []
    assert imu_video.list_encoders(["cnn_*", "resnet?d"]) == ["cnn_gru", "cnn_transformer", "resnet1d"]
    assert imu_video.list_encoders(exclude="*") == []
    rest = imu_video.list_encoders("*", exclude=["*cnn*", "tpn"])
    assert rest == [n for n in everything if "cnn" not in n and n != "tpn"]
    assert imu_video.list_encoders("[hp]*") == ["harood_cnn", "harood_transformer", "patch_tst"]


def test_arguments_reach_the_component() -> None:
    assert imu_video.create_encoder("patch_tst", channels=3, width=16, layers=1).channels == 3
    assert imu_video.create_augmentation("jitter", p=0.25).p == 0.25
