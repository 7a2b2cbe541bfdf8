"""A run that starts from an exported encoder: weights, architecture, normalisation, lineage, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.bundle import pretrained
from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.errors import CheckpointError, ConfigError
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.identity import identity
from pretrain.prepare.prepare import Prepared
from pretrain.run import run
from tests.bundle.shipped import ship_tiny

Raw = Callable[..., dict[str, Any]]
Ready = Callable[..., Prepared]
ENCODER = {"name": "segment_cnn", "width": 8}


def bundle(rate_hz: float = 25.0, window_s: float = 2.0, encoder: Any = None, **more: Any) -> EncoderBundle:
    channels = more.get("channels")
    number = 6 if channels is None else len(channels)
    spec = InputSpec(rate_hz=rate_hz, window_s=window_s, mean=(0.5,) * number, std=(7.0,) * number, **more)
    return EncoderBundle(spec=spec, encoder=encoder or ENCODER)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lineage = {"run_id": "0" * 12, "licences": {"recordings": "CC-BY-4.0"}}
    return bundle().save(tmp_path_factory.mktemp("init") / "encoder", lineage=lineage)


def config_of(raw: Raw, folder: Index, init: Any, encoder: Any = None, **sections: Any) -> PretrainConfig:
    content = {**raw(folder.root, optim={"steps": 2}, **sections), "init": init, "encoder": encoder}
    return PretrainConfig.model_validate(content)


def student_of(prepared: Prepared) -> EncoderBundle:
    return prepared.parts.task.model.student


def test_weights_architecture_and_normalisation_are_those_of_the_encoder(
    raw: Raw, data: Index, exported: Path, prepared: Ready
) -> None:
    ready = prepared(config_of(raw, data, str(exported)))
    source, student = load_encoder(exported), student_of(ready)
    assert ready.config.encoder["name"] == "segment_cnn"
    assert student.spec.mean == source.spec.mean
    assert student.spec.std == source.spec.std
    before = source.encoder.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in student.encoder.state_dict().items())
    assert ready.identity["init (weights sha256)"] == source.weights_sha256
    assert not [key for key in ready.identity if key.startswith("init.")], "a moved folder is the same run"
    assert ready.lineage()["init"]["lineage"]["run_id"] == "0" * 12


def test_the_normalisation_can_be_fitted_to_the_new_windows(
    raw: Raw, data: Index, exported: Path, prepared: Ready
) -> None:
    ready = prepared(config_of(raw, data, {"encoder": str(exported), "normalise": "fit"}))
    assert student_of(ready).spec.std != load_encoder(exported).spec.std
    assert ready.identity["init.normalise"] == "fit"
    with pytest.raises(ValueError, match=r"data\.normalise 'none' has no effect"):
        config_of(raw, data, str(exported), data={"normalise": "none"})


def test_the_projectors_are_those_of_a_run_without_it(raw: Raw, data: Index, exported: Path, prepared: Ready) -> None:
    config = config_of(raw, data, str(exported))
    plain = PretrainConfig.model_validate({**raw(data.root, optim={"steps": 2}), "encoder": ENCODER})
    heads = [
        {k: v.clone() for k, v in prepared(c).parts.task.state_dict().items() if "projector" in k}
        for c in (config, plain)
    ]
    assert heads[0].keys() == heads[1].keys()
    assert all(torch.equal(heads[0][k], heads[1][k]) for k in heads[0])


def test_run_ids_without_it_are_unchanged(raw: Raw, data: Index) -> None:
    plain = PretrainConfig.model_validate(raw(data.root))
    assert not [key for key in identity(plain, data="d") if key.startswith(("init", "continues"))]


def test_a_stated_architecture_must_agree(raw: Raw, data: Index, exported: Path, prepared: Ready) -> None:
    agreeing = config_of(raw, data, str(exported), encoder=ENCODER)
    assert prepared(agreeing).run_id == prepared(config_of(raw, data, str(exported))).run_id
    with pytest.raises(ConfigError, match=r"encoder differs from that of init .*: width: 8 -> 16") as caught:
        prepared(config_of(raw, data, str(exported), encoder={"name": "segment_cnn", "width": 16}))
    assert caught.value.hint is not None
    assert "encoder=null" in caught.value.hint
    with pytest.raises(ValueError, match="encoder"):
        PretrainConfig.model_validate({**raw(data.root), "encoder": None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_hz": 50.0}, "rate_hz is 25.0, the encoder .* was trained with 50.0"),
        ({"channels": ("acc_x", "acc_y", "acc_z")}, "channels is .*gyr_z, the encoder .* with acc_x, acc_y, acc_z\n"),
        ({"gravity": "removed"}, "gravity is included, the encoder .* was trained with removed"),
    ],
)
def test_other_windows_are_refused(
    raw: Raw, data: Index, tmp_path: Path, prepared: Ready, changes: dict[str, Any], message: str
) -> None:
    folder = bundle(**changes).save(tmp_path / "other")
    with pytest.raises(ConfigError, match=message):
        prepared(config_of(raw, data, str(folder)))


def test_another_length_of_windows_needs_weights_that_do_not_depend_on_it(
    raw: Raw, data: Index, tmp_path: Path, prepared: Ready
) -> None:
    free = bundle(window_s=4.0).save(tmp_path / "free")
    assert student_of(prepared(config_of(raw, data, str(free)))).spec.window_s == 2.0
    bound = bundle(window_s=4.0, encoder="harood_transformer").save(tmp_path / "bound")
    with pytest.raises(ConfigError, match=r"do not fit windows of 2 s: .*size mismatch for embed") as caught:
        prepared(config_of(raw, data, str(bound)))
    assert "window.seconds=4" in str(caught.value.hint)


def test_a_missing_encoder_is_named(raw: Raw, data: Index, tmp_path: Path, prepared: Ready) -> None:
    with pytest.raises(CheckpointError, match=r"init: .*no/encoder/config\.json"):
        prepared(config_of(raw, data, str(tmp_path / "no" / "encoder")))


def test_the_export_states_where_its_weights_come_from(
    raw: Raw, data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "shipped")
    record = ship_tiny(tmp_path / "shipped", encoder=bundle())
    outcome = run(config_of(raw, data, "imu-video/small"), folder=tmp_path / "run")
    again = run(config_of(raw, data, "imu-video/small"), folder=tmp_path / "run")
    assert again.state == outcome.state
    lineage = load_encoder(export(tmp_path / "run", tmp_path / "out").folder).lineage
    assert lineage["init"]["encoder"] == "imu-video/small"
    assert lineage["init"]["weights_sha256"] == record.sha256["model.safetensors"]
    assert lineage["init"]["lineage"]["sources"][0]["name"] == "a simulation"
    assert lineage["licences"]["initial weights"]["weights"] == "Apache-2.0"
