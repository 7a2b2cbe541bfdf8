"""Teachers by name: the preprocessing is the published one, and widths, frames and refusals are those of the models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imu_video.errors import ConfigError
from imu_video.registry import teachers
from imu_video.teachers.timm_frames import FrameTeacher
from imu_video.testing import check_teacher

ROWS, COLUMNS = np.mgrid[0:90, 0:120]
PICTURE = np.stack([128 + 100 * np.sin(ROWS / 9), 128 + 100 * np.cos(COLUMNS / 7), 2.0 * COLUMNS], -1).astype(np.uint8)
"""A smooth picture that is wider than high: resize, crop and channel order all show."""


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "vit_tiny_patch16_224.augreg_in21k", "mobilenetv3_small_050"])
def test_timm_models_see_what_timm_prepares(name: str) -> None:
    import timm

    teacher = teachers.build({"name": "timm", "model": name, "weights": "random:0", "frames": 1})
    config = timm.data.resolve_model_data_config(teacher.backbone)
    expected = timm.data.create_transform(**config, is_training=False)(Image.fromarray(PICTURE))
    # Pillow rounds between rows and columns, which is at most 1.5 levels of 255 behind the division by std.
    found = teacher.prepare(torch.from_numpy(PICTURE)[None])[0]
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    own = teacher.describe()["transform"]
    assert own["mean"] == pytest.approx([255 * x for x in config["mean"]], abs=1e-4)


def test_a_vision_transformer_of_another_size_interpolates_its_positions() -> None:
    entry: dict[str, Any] = {"name": "timm", "model": "vit_tiny_patch16_224", "weights": "random:0", "frames": 1}
    teacher = teachers.build({**entry, "image_size": 64})
    assert teacher.encode(torch.from_numpy(PICTURE)[None, None]).shape == (1, 192)
    with pytest.raises(ConfigError, match="takes images of 224 x 224 pixels, got image_size 65"):
        teachers.build({**entry, "image_size": 65})


def test_frames_refuses_a_model_of_other_colours_or_size() -> None:
    with pytest.raises(
        ConfigError, match=r"resnet18 was trained with colours normalised by mean and std 123\.7"
    ) as caught:
        FrameTeacher(model="resnet18", weights="random:0", image_size=32)
    assert "timm:resnet18" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="takes images of 224 x 224 pixels, got image_size 128"):
        FrameTeacher(model="vit_tiny_patch16_224", weights="random:0", image_size=128)
    stated = FrameTeacher(model="resnet18", weights="random:0", image_size=32, mean=(123.0,) * 3, std=(58.0,) * 3)
    assert stated.feature_dim == 512


def test_one_line_names_a_teacher_and_its_model() -> None:
    assert teachers.stated("hf:owner/name") == {"name": "hf", "model": "owner/name"}
    assert teachers.stated("tiny") == {"name": "tiny"}
    assert teachers.entry("timm:resnet18").arguments["model"] == "resnet18"
    with pytest.raises(ConfigError, match="unknown teacher 'tiny:x'"):
        teachers.entry("tiny:x")


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("r3d_18", 512),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                ("mc3_18", 512), ("r2plus1d_18", 512), ("s3d", 1024), ("mvit_v1_b", 768), ("mvit_v2_s", 768),
                ("swin3d_t", 768), ("swin3d_s", 768), ("swin3d_b", 1024),
            ]
        ),
    ],
)  # fmt: skip
def test_video_models_have_the_published_width_and_preprocessing(name: str, width: int) -> None:
    import torchvision

    teacher = teachers.build({"name": "torchvision", "model": name, "weights": "random:0"})
    assert teacher.feature_dim == width
    assert teacher.sample_indices(5) == sorted(teacher.sample_indices(5))
    assert len(teacher.sample_indices(100)) == 16
    clip = torch.from_numpy(np.stack([np.roll(PICTURE, i, 1) for i in range(16)]))[None]
    published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    expected = published(clip[0].permute(0, 3, 1, 2))
    found = teacher.prepare(clip).unflatten(0, (1, 16)).transpose(1, 2)[0]
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert teacher.encode(clip).shape == (1, width)
    assert teacher.describe()["transform"]["size"] == list(published.crop_size) * (2 // len(published.crop_size))


@pytest.mark.slow
def test_video_models_are_teachers() -> None:
    clips = torch.randint(0, 256, (2, 4, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher = teachers.build({"name": "torchvision", "model": "r3d_18", "weights": "random:0", "frames": 4})
    check_teacher(teacher, inputs=clips)


def test_unknown_video_models_and_frames_are_refused() -> None:
    for entry, message in (
        ({"model": "r3d_81"}, r"no video model 'r3d_81'.*r3d_18"),
        ({"model": "mvit_v2_s", "frames": 8}, "takes 16 frames, got frames 8"),
        ({"model": "s3d", "frames": 8}, "takes at least 14 frames"),
        ({"model": "r3d_18", "weights": "no.safetensors"}, "No such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            teachers.build({"name": "torchvision", **entry})


@pytest.mark.slow
def test_open_clip_embeds_images_and_texts_in_one_space() -> None:
    open_clip = pytest.importorskip("open_clip.transform", reason="the extra `clip` is not installed")
    teacher = teachers.build("open_clip:ViT-B-32/random:0")
    clips = torch.from_numpy(np.stack([np.stack([PICTURE, PICTURE[:, ::-1]]), np.stack([255 - PICTURE] * 2)]).copy())
    check_teacher(teacher, inputs=clips)
    assert teacher.feature_dim == 512
    assert teacher.encode_text(["a person walks", "sitting"]).shape == (2, 512)
    transform = open_clip.image_transform_v2(
        open_clip.PreprocessCfg(**teacher.network.visual.preprocess_cfg), is_train=False
    )
    expected = transform(Image.fromarray(PICTURE))
    torch.testing.assert_close(teacher.prepare(torch.from_numpy(PICTURE)[None])[0], expected, atol=0.03, rtol=0)


def test_open_clip_refuses_what_it_does_not_list() -> None:
    pytest.importorskip("open_clip", reason="the extra `clip` is not installed")
    with pytest.raises(ConfigError, match="no architecture 'ViT-B-23'"):
        teachers.build("open_clip:ViT-B-23/openai")
    with pytest.raises(ConfigError, match="no weights 'laion' of ViT-B-32"):
        teachers.build("open_clip:ViT-B-32/laion")
