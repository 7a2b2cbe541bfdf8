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
    assert imu_video.list_encoders("*tst*") == ["patch_tst", "patch_tst_hf"]
    assert imu_video.list_encoders("tst") == []
    assert imu_video.list_encoders(["cnn_*", "resnet?d"]) == ["cnn_gru", "cnn_transformer", "resnet1d"]
    assert imu_video.list_encoders(exclude="*") == []
    rest = imu_video.list_encoders("*", exclude=["*cnn*", "tpn"])
    assert rest == [n for n in everything if "cnn" not in n and n != "tpn"]
    assert imu_video.list_encoders("[hp]a[rt]*_*") == ["harood_cnn", "harood_transformer", "patch_tst", "patch_tst_hf"]


def test_arguments_reach_the_component() -> None:
    assert imu_video.create_encoder("patch_tst", channels=3, width=16, layers=1).channels == 3
    assert imu_video.create_augmentation("jitter", p=0.25).p == 0.25


def test_unknown_names_and_arguments_have_a_remedy() -> None:
    with pytest.raises(ConfigError, match="did you mean 'patch_tst'") as error:
        imu_video.create_encoder("PatchTST")
    assert "`imu-video list encoders`" in str(error.value.hint)
    with pytest.raises(ConfigError, match="did you mean 'temperature'") as error:
        imu_video.create_loss("info_nce", Temperatur=0.1)
    assert "`imu-video list losses info_nce`" in str(error.value.hint)


def test_losses_name_the_type_they_take() -> None:
    import torch

    loss, rows = imu_video.create_loss("info_nce"), torch.eye(4)
    for wrong in ((rows, rows), (rows,), ({"imu": rows},)):
        with pytest.raises(ConfigError, match="InfoNCE takes one PairEmbeddings, got ") as error:
            loss(*wrong)
        assert "imu_video.PairEmbeddings(imu=" in str(error.value.hint)
    assert loss(imu_video.PairEmbeddings(imu=rows, sides={"teacher": rows})).total.ndim == 0


@pytest.mark.parametrize("name", imu_video.list_encoders(exclude="mantis"))
def test_encoders_refuse_arrays(name: str) -> None:
    import numpy as np

    with pytest.raises(TypeError, match=r"imu must be a torch tensor, got numpy.ndarray(.|\n)*EncoderBundle.encode"):
        imu_video.create_encoder(name)(np.zeros((2, 6, 200), np.float32))
