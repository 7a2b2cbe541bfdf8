"""Edits of an encoder's config.json: one error with file and key, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.bundle.input_spec import InputSpec
from imu_video.errors import CheckpointError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = InputSpec(rate_hz=20, window_s=1, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.5,) * 3)
    encoder = {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 8}
    return EncoderBundle(spec=spec, encoder=encoder).save(tmp_path_factory.mktemp("encoder") / "encoder")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("encoder", None, "key 'encoder': expected a mapping of keys"),
        ("encoder", ["patch_tst"], "key 'encoder': expected a mapping of keys"),
        ("encoder.width", 2**31, "argument 'width'"),
        ("encoder.width", 2**30, "at most 2147483648 in all"),
        pytest.param("encoder.layers", 2**30, "more than 5000 tensors", marks=pytest.mark.slow),
        ("encoder.layers", None, "argument 'layers'"),
        ("encoder.layers", 0, "argument 'layers'"),
        ("encoder.layers", 1.5, "argument 'layers'"),
        ("encoder.layers", [1], "argument 'layers'"),
        ("encoder.heads", 3, "width a multiple of heads"),
        ("lineage", [], "key 'lineage': expected a mapping of keys"),
        ("input", None, "expected a mapping of keys"),
        ("input.channels", None, "channels"),
        ("input.channels", [[]], "channels"),
        ("input.rate_hz", 1e300, "rate_hz"),
        ("input.window_s", 1e-9, "has 0 samples"),
        ("input.mean", None, "mean"),
        ("input.std", [0] * 6, "std must be positive"),
    ],
)
def test_an_edit_is_named(key: str, value: Any, words: str, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    box = config
    *sections, last = key.split(".")
    for section in sections:
        box = box[section]
    box[last] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError) as refused:
        load_encoder(tmp_path)
    assert str(tmp_path / "config.json") in refused.value.message
    assert words in refused.value.message
