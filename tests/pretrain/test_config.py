"""Sections, the resolved form, and what makes two configs the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.config import dump_yaml, load_config, read_yaml, shipped, validate
from imu_video.errors import ConfigError
from imu_video.runtime import references
from pretrain.config import PretrainConfig
from pretrain.identity import differences, identity, run_id, stored
from pretrain.prepare.components import Components
from tests.pretrain.conftest import resolved

SHIPPED = sorted((shipped() / "pretrain").rglob("*.yaml"))


def config(**sections: object) -> PretrainConfig:
    raw = {"data": {"root": "d"}, "optim": {"steps": 10}, **sections}
    return PretrainConfig.model_validate(raw)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: {root: d, batchsize: 4}\noptim: {steps: 3}\n")
    with pytest.raises(ConfigError, match=r"data\.batchsize.*did you mean 'batch_size'"):
        load_config(file, PretrainConfig)


@pytest.mark.parametrize("optim", [{}, {"steps": 3, "epochs": 2}])
def test_exactly_one_length(optim: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exactly one of steps and epochs"):
        config(optim=optim)


@pytest.mark.parametrize("value", [True, 0, -1, "foo", float("nan"), None, [1]])
def test_normalisation_is_a_method_or_a_number(value: object) -> None:
    assert config(data={"root": "d", "normalise": 9}).data.normalise == 9.0
    with pytest.raises(ValueError, match="expected sensors, channels, none, or a number"):
        config(data={"root": "d", "normalise": value})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([{"name": "rotat"}], "data/b: data.root.1.augment.0: unknown augmentation 'rotat'; did you mean 'rotate'"),
        (["jitter", {"name": "rotate", "max_degrees": -5}], "data/b: data.root.1.augment.1: augmentation 'rotate'"),
        ([{"max_degrees": 3}], "c.yaml: key 'data.root.1.augment.0': a component entry needs a 'name'"),
        ("rotate", "c.yaml: key 'data.root.1.augment': expected a list"),
        ([3], "c.yaml: key 'data.root.1.augment.0': expected a mapping of keys"),
    ],
)
def test_augmentations_of_a_folder_are_named_by_folder_and_key(own: object, message: str) -> None:
    raw = {"data": {"root": [{"root": "a"}, {"root": "data/b", "augment": own}]}, "optim": {"steps": 3}}
    with pytest.raises(ConfigError) as caught:
        Components.of(validate(raw, PretrainConfig, source="c.yaml"))
    assert caught.value.message.startswith(message)


def test_a_key_of_a_folder_is_named_with_the_nearest() -> None:
    raw = {"data": {"root": [{"root": "a", "wieght": 2}]}, "optim": {"steps": 3}}
    with pytest.raises(ConfigError, match=r"unknown key 'data\.root\.0\.wieght'; did you mean 'weight'"):
        validate(raw, PretrainConfig, source="c.yaml")


def test_component_may_be_a_bare_name_and_needs_one() -> None:
    assert config(encoder="patch_tst").encoder == {"name": "patch_tst"}
    with pytest.raises(ValueError, match="needs a 'name'"):
        config(loss=[{"weight": 1.0}])


def test_resolving_fills_in_every_argument_and_is_stable() -> None:
    once = resolved(config(augment=["rotate"], loss=[{"name": "info_nce", "weight": 2}]), teacher="abc")
    assert once.encoder["patch"] == 16
    assert once.augment[0]["max_degrees"] > 0
    assert once.loss[0]["weight"] == 2
    assert once.data.teacher == "abc"
    assert resolved(once, teacher="abc") == once


def test_resolving_refuses_an_unknown_argument() -> None:
    with pytest.raises(ConfigError, match=r"patch_tst.*'widht'.*'width'"):
        resolved(config(encoder={"name": "patch_tst", "widht": 3}))


def test_run_id_ignores_paths_and_logging_only() -> None:
    def of(data: str = "x", **sections: object) -> str:
        return run_id(identity(config(**sections), data=data))

    base = of()
    assert of(data="x", run={"log_every": 3, "keep": 7, "threads": 2, "tracker": "tensorboard"}) == base
    assert run_id(identity(config(data={"root": "elsewhere"}), data="x")) == base
    assert of(seed=1) != base
    assert of(data="y") != base
    assert of(optim={"steps": 11}) != base


def test_keys_of_this_version_do_not_change_the_run_ids_of_earlier_ones() -> None:
    names = identity(config(), data="x").keys()
    assert not {"data.control", "projector.hidden", "optim.algorithm", "optim.decayed", "optim.end"} & names
    base = run_id(identity(config(), data="x"))
    mixture = identity(config(data={"root": [{"root": "a"}, {"root": "b", "augment": ["jitter"]}]}), data="x")
    assert [key for key in mixture if key.startswith("data.root")] == [
        "data.root.0.weight", "data.root.1.weight", "data.root.1.augment.0.name"
    ]  # fmt: skip
    changed = [
        config(projector={"hidden": 64}),
        *(
            config(optim={"steps": 10, **more})
            for more in ({"algorithm": "adam"}, {"decayed": "all"}, {"end": "after"}, {"plateau": {}})
        ),
    ]
    ids = [run_id(identity(one, data="x")) for one in changed]
    assert len({base, *ids}) == 6


def test_differences_name_the_dotted_keys() -> None:
    before = identity(config(loss=[{"name": "info_nce", "temperature": 0.1}]), data="x")
    after = identity(config(loss=[{"name": "info_nce", "temperature": 0.2}], seed=4), data="x")
    assert differences(before, after) == ["loss.0.temperature: 0.1 -> 0.2", "seed: 0 -> 4"]


def test_code_of_plugins_belongs_to_the_identity_and_not_to_the_name_of_the_run() -> None:
    plain = identity(config(), data="x")
    before, after = (identity(config(), data="x", code={"loss mine": code}) for code in ("aa", "bb"))
    assert run_id(plain) == run_id(before) == run_id(after)
    assert differences(before, after) == ["code (loss mine): aa -> bb"]
    assert differences(before, plain) == ["code (loss mine): aa -> (absent)"]
    assert differences(plain, before) == [], "runs of earlier versions did not record it and can be resumed"


def test_some_configs_are_shipped() -> None:
    assert {p.stem for p in SHIPPED} >= {"base", "comodo", "imu_video", "simclr_imu"}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_shipped_config_resolves(file: Path) -> None:
    loaded = load_config(file, PretrainConfig, ["data.root=somewhere"])
    resolved(loaded)


def test_the_base_config_documents_every_key() -> None:
    """A key that exists and is not in base.yaml would be one that nobody finds."""
    base = read_yaml(shipped() / "pretrain" / "base.yaml")
    for name, field in PretrainConfig.model_fields.items():
        assert name in base, name
        inner = getattr(field.annotation, "model_fields", {})
        assert set(inner) <= set(base[name] if inner else {}), name


def test_values_of_the_environment_are_compared_but_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("_values", "_named", "_keys"):
        monkeypatch.setattr(references, table, {})
    file = tmp_path / "run.yaml"
    sections = ("data: {root: '${ROOT}/x', val_split: validation}", "optim: {steps: 3}")
    file.write_text("\n".join([*sections, "encoder: {name: e, note: 'at ${NOTE}'}"]))
    identities = []
    for root, note in (("/mnt/one", "secret one"), ("/mnt/two", "secret one"), ("/mnt/one", "secret two")):
        monkeypatch.setenv("ROOT", root)
        monkeypatch.setenv("NOTE", note)
        config = load_config(file, PretrainConfig)
        identities.append(identity(config, data="abc"))
        assert "secret" not in dump_yaml(config) + str(stored(identities[-1]))
        assert "root: ${ROOT}/x" in dump_yaml(config)
    first, moved, other = identities
    assert differences(stored(first), moved) == []
    assert len(differences(stored(first), other)) == 1
    assert differences(first, stored(first)) == []  # an earlier version stored the value
    assert run_id(first) == run_id(moved) != run_id(other)
    assert stored(first)["data.val_split"] == "validation"
