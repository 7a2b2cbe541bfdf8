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
from imu_video.plugin_code import listing
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

    def write(self, text: str) -> str:
        """Replace the file, load it as a new process would, and return the hash of its code."""
        self.file.write_text(text)
        self.forget()
        load_plugin(self.file)
        files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self.file.parent.glob("*.py")}
        return listing(files)[:16]

    def forget(self) -> None:
        """Drop the modules of the plugin's folder."""
        for name in [n for n, one in sys.modules.items() if self._owns(getattr(one, "__file__", None))]:
            del sys.modules[name]

    def _owns(self, file: object) -> bool:
        return isinstance(file, str) and Path(file).parent == self.file.parent


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    made = Plugin(tmp_path / "mine.py")
    yield made
    made.forget()
    registry.augmentations._classes.pop("plugin_scale", None)
    registry.encoders._classes.pop("plugin_mean", None)


def test_a_plugin_that_was_edited_is_noticed(
    make_config: Maker, tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, or a module that it imports from its folder."""
    monkeypatch.syspath_prepend(tmp_path)
    text, helper = "from factor_of_plugin import FACTOR\n" + TEXT, tmp_path / "factor_of_plugin.py"
    helper.write_text("FACTOR = 1.0")
    code = plugin.write(text)
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
    card = (tmp_path / "encoder" / "README.md").read_text().partition("## Plugins")[2].partition("\n## ")[0]
    assert f"| augmentation plugin_scale | {code} |\n| encoder plugin_mean | {code} |" in card

    edited = plugin.write(text.replace("* FACTOR", "/ FACTOR"))
    with pytest.raises(ConfigError, match=rf"code \(augmentation plugin_scale\): {code} -> {edited}"):
        run(config, folder=tmp_path / "run")
    helper.write_text("FACTOR = 2.0")
    edited = plugin.write(text)
    with pytest.raises(ConfigError, match=rf"code \(augmentation plugin_scale\): {code} -> {edited}"):
        run(config, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match=rf"plugin was edited .*code \(encoder plugin_mean\): {code} -> {edited}"):
        export(tmp_path / "run", tmp_path / "other")
    assert not (tmp_path / "other").exists()

    helper.write_text("FACTOR = 1.0")
    assert plugin.write(text) == code
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
