"""Code of plugins in the identity of a run: edited between launch and resume, between training and export."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imu_video import registry
from imu_video.bundle.encoder import load_encoder
from imu_video.errors import CheckpointError, ConfigError
from imu_video.registry import load_plugin
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.run import run

Maker = Callable[..., PretrainConfig]
TEXT = """
from imu_video.registry import augmentations, encoders
from imu_video.transforms.base import Augmentation
import torch

@augmentations.register("plugin_scale")
class Scale(Augmentation):
    def __init__(self) -> None:
        super().__init__(p=1.0)

    def change(self, imu, mask, draws):
        return imu * FACTOR, mask

@encoders.register("plugin_mean")
class Mean(torch.nn.Module):
    def __init__(self, *, channels: int = 6) -> None:
        super().__init__()
        self.channels = self.feature_dim = channels
        self.linear = torch.nn.Linear(channels, channels)

    def forward(self, imu, mask=None):
        return self.linear(imu.mean(-1)) * FACTOR
"""


class Plugin:
    """A plugin file that can be edited as between two processes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names: set[str] = set()

    def write(self, text: str) -> str:
        """Replace the file, load it as a new process would, and return the hash of its code."""
        self.file.write_text(text)
        for name in [name for name in sys.modules if name.startswith("imu_video_plugin_")]:
            if str(getattr(sys.modules[name], "__file__", "")) == str(self.file):
                del sys.modules[name]
        load_plugin(self.file)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    yield Plugin(tmp_path / "mine.py")
    registry.augmentations._classes.pop("plugin_scale", None)
    registry.encoders._classes.pop("plugin_mean", None)


def test_a_plugin_that_was_edited_is_noticed(make_config: Maker, tmp_path: Path, plugin: Plugin) -> None:
    code = plugin.write(TEXT.replace("FACTOR", "1.0"))
    sections = {"encoder": {"name": "plugin_mean"}, "augment": [{"name": "plugin_scale"}]}
    config = PretrainConfig.model_validate({**make_config(optim={"steps": 4}).model_dump(mode="json"), **sections})
    run(config, folder=tmp_path / "run")
    identity = json.loads((tmp_path / "run" / "environment.json").read_text())["identity"]
    assert {key: value for key, value in identity.items() if key.startswith("code (")} == {
        "code (augmentation plugin_scale)": code,
        "code (encoder plugin_mean)": code,
    }
    export(tmp_path / "run", tmp_path / "encoder")
    assert load_encoder(tmp_path / "encoder").lineage["config"]["code (encoder plugin_mean)"] == code
    assert code in (tmp_path / "encoder" / "README.md").read_text()

    edited = plugin.write(TEXT.replace("FACTOR", "2.0"))
    with pytest.raises(ConfigError, match=rf"code \(augmentation plugin_scale\): {code} -> {edited}"):
        run(config, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match=rf"plugin was edited .*code \(encoder plugin_mean\): {code} -> {edited}"):
        export(tmp_path / "run", tmp_path / "other")
    assert not (tmp_path / "other").exists()

    plugin.write(TEXT.replace("FACTOR", "1.0"))
    run(config, folder=tmp_path / "run")


def test_a_run_without_recorded_code_resumes(
    make_config: Maker, tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions wrote it."""
    plugin.write(TEXT.replace("FACTOR", "1.0"))
    config = make_config(augment=[{"name": "plugin_scale"}], optim={"steps": 4})
    with monkeypatch.context() as patched:
        patched.setattr("pretrain.prepare.components.registry.source_hash", lambda component: None)
        run(config, folder=tmp_path / "run")
    assert "code (" not in (tmp_path / "run" / "environment.json").read_text()
    assert run(config, folder=tmp_path / "run").state.step == 4
