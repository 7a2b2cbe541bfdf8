"""Every registered component passes the public contract checks; a new one gets them by being registered."""

from __future__ import annotations

from typing import Any

import pytest

from imu_video import registry
from imu_video.testing import (
    check_augmentation,
    check_dataset,
    check_encoder,
    check_loss,
    check_losses_over_ranks,
    check_teacher,
)

# Where the defaults are large, an entry here makes the component small; where it needs files, other tests check it.
ENCODERS: dict[str, dict[str, Any]] = {
    "patch_tst": {"width": 16, "layers": 2, "heads": 2, "ffn": 32},
    "cnn_gru": {"hidden": 32},
    "cnn_transformer": {"width": 16, "ffn": 32},
    "resnet1d": {"width": 8},
}
TEACHERS: dict[str, dict[str, Any] | None] = {
    "frames": {"weights": "random:0", "image_size": 64, "frames": 2},
    "skeleton": None,  # fitted before use: tests/teachers
}
DATASETS_WITHOUT_FILES: dict[str, dict[str, Any]] = {"synthetic": {}}


def shipped(kind: registry.Registry[Any]) -> list[str]:
    """Names without those that tests register for themselves, some of them broken on purpose."""
    return [name for name in kind.names() if not name.startswith("test_")]


@pytest.mark.parametrize("name", shipped(registry.encoders))
def test_encoders(name: str) -> None:
    check_encoder({"name": name, **ENCODERS.get(name, {})})


@pytest.mark.parametrize(
    "options",
    [{"norm": "batch"}, {"scaling": "instance"}, {"pooling": "mean_concat"}, {"pre_norm": False}, {"channels": 3}],
    ids=str,
)
def test_patch_tst_options(options: dict[str, Any]) -> None:
    check_encoder({"name": "patch_tst", **ENCODERS["patch_tst"], **options})


@pytest.mark.parametrize(
    "config",
    [
        {"name": "resnet1d", "width": 8, "blocks": (1, 1), "norm": "batch", "pooling": "mean_max", "segments": 3},
        {"name": "cnn_gru", "hidden": 16, "pool": 1, "pooling": "mean", "channels": 3},
        {"name": "cnn_transformer", "width": 16, "ffn": 16, "stride": 2, "pooling": "max", "norm": "batch"},
        {"name": "harood_cnn", "norm": "batch", "kernel": 6, "samples": 50},
        {"name": "tpn", "width": 8, "pooling": "mean", "segments": 2},
    ],
    ids=str,
)
def test_encoder_options(config: dict[str, Any]) -> None:
    check_encoder(config)


@pytest.mark.parametrize("name", shipped(registry.losses))
def test_losses(name: str) -> None:
    check_loss(name)


def test_losses_over_two_ranks() -> None:
    """A2: the gradient over processes is that of one process on the whole batch."""
    check_losses_over_ranks([{"name": name} for name in shipped(registry.losses)], ranks=2)


@pytest.mark.parametrize("name", shipped(registry.augmentations))
def test_augmentations(name: str) -> None:
    check_augmentation(name)
    check_augmentation({"name": name, "p": 1.0})


@pytest.mark.parametrize("name", shipped(registry.teachers))
def test_teachers(name: str) -> None:
    options = TEACHERS.get(name, {})
    if options is None:
        pytest.skip("needs fitting or files; its own tests run check_teacher on it")
    check_teacher({"name": name, **options})


@pytest.mark.parametrize("name", sorted(DATASETS_WITHOUT_FILES))
def test_datasets(name: str) -> None:
    check_dataset({"name": name, **DATASETS_WITHOUT_FILES[name]}, recordings=1)
