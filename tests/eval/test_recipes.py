"""Encoders of one recipe: found in folders, refused where they differ in more than the pretraining seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.protocols.ood.benchmark import expand
from eval.recipes import encoder_folders, open_encoder, read_recipe
from imu_video.bundle import pretrained
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import CheckpointError, ConfigError
from imu_video.export.folder import serialised
from imu_video.export.runtime import OnnxEncoder
from tests.bundle.shipped import ship_tiny
from tests.eval.protocols.ood.test_benchmark import config as benchmark
from tests.export.models import facts, network

ENCODER = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}
SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(1.0,) * 6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "encoder"
    EncoderBundle(spec=SPEC, encoder=ENCODER).save(folder, lineage={"run_id": "r", "config": {"seed": 0, "lr": 0.1}})
    return folder


def encoder(saved: Path, folder: Path, **changes: Any) -> Path:
    """An encoder folder whose lineage has other keys; ``weights`` replaces their digest."""
    content = json.loads((saved / "config.json").read_text())
    content["weights_sha256"] = changes.pop("weights", folder.name) + "0" * 64
    content["lineage"]["config"] |= changes
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_a_folder_holds_one_recipe(saved: Path, tmp_path: Path) -> None:
    for seed in (3, 1):
        encoder(saved, tmp_path / "mine" / f"s{seed}", seed=seed)
    further = encoder(saved, tmp_path / "s7", seed=7)
    recipe = read_recipe(tmp_path / "mine", [further])
    assert (recipe.name, recipe.seeds) == ("mine", (1, 3, 7))
    held = recipe.provenance
    assert held["pretraining"]["seeds"] == [1, 3, 7]
    assert held["pretraining"]["weights"] == [f"s{seed}" + "0" * 10 for seed in (1, 3, 7)]
    assert held["weights"] not in held["pretraining"]["weights"]
    one = read_recipe(further)
    assert one.seeds == ()
    assert (one.provenance["weights"], one.provenance["run_id"]) == ("s7" + "0" * 10, "r")
    assert one.provenance["architecture"]["name"] == "patch_tst"
    assert "pretraining" not in one.provenance, "result lines of one encoder are those of earlier versions"


def test_encoders_that_differ_in_more_than_the_seed_are_refused(saved: Path, tmp_path: Path) -> None:
    first = encoder(saved, tmp_path / "a", seed=0)
    other = encoder(saved, tmp_path / "b", seed=1, lr=0.2)
    with pytest.raises(ConfigError, match=r"differ in more than the pretraining seed: config\.lr: 0\.1 and 0\.2"):
        read_recipe(first, [other])
    with pytest.raises(ConfigError, match="have the same pretraining seed 0"):
        read_recipe(first, [encoder(saved, tmp_path / "c", seed=0)])
    with pytest.raises(ConfigError, match=r"lineage\.config\.seed is None, expected the pretraining seed"):
        read_recipe(first, [encoder(saved, tmp_path / "d", seed=None)])


def test_one_encoder_is_not_two_pretraining_seeds(saved: Path, tmp_path: Path) -> None:
    first = encoder(saved, tmp_path / "a", seed=0, weights="w")
    with pytest.raises(ConfigError, match="have the same weights, but state the pretraining seeds 0 and 1"):
        read_recipe(first, [encoder(saved, tmp_path / "b", seed=1, weights="w")])
    with pytest.raises(ConfigError, match="seed is True, expected the pretraining seed"):
        read_recipe(first, [encoder(saved, tmp_path / "c", seed=True)])


@pytest.mark.parametrize("part", ["lineage", "encoder", "input"])
def test_facts_of_another_form_are_errors_that_name_the_key(saved: Path, tmp_path: Path, part: str) -> None:
    first, other = encoder(saved, tmp_path / "a", seed=0), encoder(saved, tmp_path / "b", seed=1)
    content = json.loads((other / "config.json").read_text())
    for change in ({part: [1]}, {"lineage": {**content["lineage"], "config": "x"}}):
        (other / "config.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(ConfigError, match="expected a mapping of keys"):
            read_recipe(first, [other])


def test_encoders_with_other_gravity_are_refused(saved: Path, tmp_path: Path) -> None:
    first, other = encoder(saved, tmp_path / "a", seed=0), encoder(saved, tmp_path / "b", seed=1)
    content = json.loads((other / "config.json").read_text())
    content["input"]["gravity"] = "removed"
    (other / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"input\.gravity: 'included' and 'removed'"):
        read_recipe(first, [other])


def test_a_folder_without_encoders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither an encoder folder nor a folder of encoder folders"):
        encoder_folders(tmp_path)


def test_an_exported_onnx_file_is_an_encoder_of_its_own(tmp_path: Path) -> None:
    file, graph = tmp_path / "model.int8.onnx", network()
    file.write_bytes(serialised(graph.model, facts(graph)))
    recipe = read_recipe(file)
    assert (recipe.name, recipe.folders) == ("model.int8.onnx", (file,))
    opened = open_encoder(file)
    assert isinstance(opened, OnnxEncoder)
    assert recipe.weights == [opened.weights_sha256[:12]]


def test_a_shipped_name_is_one_encoder_and_stays_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that a name stands for differs between machines: it must not become part of a config's digest."""
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "shipped")
    record = ship_tiny(tmp_path / "shipped")
    recipe = read_recipe(Path("imu-video/small"))
    assert (recipe.name, recipe.folders) == ("imu-video/small", (tmp_path / "shipped" / "small",))
    assert recipe.weights == [record.sha256["model.safetensors"][:12]]
    named = benchmark(models=[{"name": "mine", "encoder": "imu-video/small", "train": "head"}])
    assert expand(named) == (named, {})
    with pytest.raises(CheckpointError, match="no shipped encoder of this name"):
        read_recipe(Path("imu-video/smal"))
