"""The two kinds of exported folders: same files, same refusals of damage, no file of one read as the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.bundle import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.folder import CONFIG, WEIGHTS
from imu_video.errors import CheckpointError
from imu_video.sides import TowerBundle, load_tower
from tests.bundle.shipped import tiny

JOINTS = ["pelvis", "neck", "left_hip", "right_hip"]
Load = Callable[[Path], torch.nn.Module]


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in {**config, **changes}.items() if v is not None}))


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def save(kind: str, folder: Path) -> Load:
    if kind == "encoder":
        spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
        EncoderBundle(spec=spec, encoder={"name": "patch_tst", "width": 16}).save(folder, lineage={"run": 1})
        return load_encoder
    TowerBundle({"name": "skeleton", "width": 4}, joints=JOINTS).save(folder, lineage={"run": 1})
    return load_tower


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("encoder", ["encoder", "input", "feature_dim", "parameters", "weights_sha256", "versions", "lineage"]),
        ("tower", ["tower", "modality", "feature_dim", "weights_sha256", "lineage"]),
    ],
)
def test_a_folder_gives_the_same_weights_again(kind: str, keys: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    load = save(kind, tmp_path / "folder")
    one, two = load(tmp_path / "folder").state_dict(), load(tmp_path / "folder").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    config = json.loads((tmp_path / "folder" / CONFIG).read_text())
    assert list(config) == ["format", "format_version", *keys]
    assert config["lineage"] == {"run": 1}


@pytest.mark.parametrize("kind", ["encoder", "tower"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_bit, "sha256 is [0-9a-f]{12}, config.json expects"),
        (lambda f: (f / WEIGHTS).unlink(), "model.safetensors: No such file"),
        (lambda f: (f / CONFIG).unlink(), r"config.json: No such file(.|\n)*imu-pretrain export RUN OUT"),
        (lambda f: (f / CONFIG).write_text("[1"), "not readable as JSON"),
        (lambda f: (f / CONFIG).write_text("[1]"), "not an imu-video"),
        (lambda f: edit(f, format_version=9), "format version 9, expected 1"),
        (lambda f: edit(f, lineage=None), "keys missing: lineage"),
        (lambda f: edit(f, weights_sha256=None), "keys missing: weights_sha256"),
        (
            lambda f: edit(
                f, encoder={"name": "patch_tst", "width": 8}, tower={"name": "skeleton", "width": 8, "joints": JOINTS}
            ),
            "fit",
        ),
        (lambda f: edit(f, encoder={"name": "nothing"}, tower={"name": "nothing"}), "config.json: .*nothing"),
    ],
)
def test_damage_is_named(kind: str, damage: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    load = save(kind, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_one_kind_is_not_read_as_the_other(tmp_path: Path) -> None:
    save("encoder", tmp_path / "encoder")
    save("tower", tmp_path / "tower")
    with pytest.raises(CheckpointError, match="not an imu-video tower"):
        load_tower(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="not an imu-video encoder"):
        load_encoder(tmp_path / "tower")


def test_content_that_is_no_safetensors_file_is_refused_although_its_hash_is_right(tmp_path: Path) -> None:
    folder = tiny().save(tmp_path / "encoder")
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = hashlib.sha256(b"not safetensors").hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a safetensors file"):
        load_encoder(folder)
