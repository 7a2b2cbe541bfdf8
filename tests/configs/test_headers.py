"""Headers of recipes list what differs from the faithful config, which has a tuned one beside it."""

from __future__ import annotations

import json

import pytest

from imu_video.config import load_config
from pretrain.config import PretrainConfig
from tests.configs.headers import FAITHFUL, differences, recipes, resolved, with_block


@pytest.mark.parametrize("name", recipes())
def test_the_header_is_what_the_generator_writes(name: str) -> None:
    content = (FAITHFUL.parent / f"{name}.yaml").read_text(encoding="utf-8")
    assert content == with_block(content, name), "run `make headers`"


AUGMENTED = {
    "primus": ["scale", "permute"],  # released code: windows scaled and cut into five
    "simclr_imu": ["scale", "rotate"],  # released tutorial: scaled per channel and rotated
    "ssl_wearables": ["swap_axes", "rotate"],  # released code: axes swapped and rotated
}
WARM_UP = {"comodo": 0.1, "ssl_wearables": 5 / 200}  # share of the updates, as published


@pytest.mark.parametrize("name", recipes())
def test_a_faithful_config_adds_nothing_to_the_paper(name: str) -> None:
    config = load_config(FAITHFUL / f"{name}.yaml", PretrainConfig, ["data.root=d"])
    assert config.name == f"{name.replace('_', '-')}-faithful"
    assert [entry["name"] for entry in config.augment] == AUGMENTED.get(name, [])
    assert config.data.clip_augment == ()
    # The trainer of transformers, which the released baseline uses, clips by default.
    assert config.optim.clip_norm == (1.0 if name == "masked_patchtst" else None)
    assert config.optim.warmup_fraction == WARM_UP.get(name, 0.0)
    assert not config.projector.standardise, "features of a teacher are used as they are"
    assert config.data.normalise != "sensors", "the statistics of our own recipes"
    if config.tower is not None:
        changes = {"body", "rotation", "scale", "jitter", "shear", "warp", "lost"}
        assert {key: config.tower[key] for key in changes} == dict.fromkeys(changes, 0.0)
        assert (config.tower["crop"], config.tower["align"]) == (1.0, False)


@pytest.mark.parametrize("name", recipes())
def test_the_printed_differences_turn_the_faithful_config_into_the_recipe(name: str) -> None:
    faithful, tuned = FAITHFUL / f"{name}.yaml", FAITHFUL.parent / f"{name}.yaml"
    here = resolved(tuned)
    overrides = []
    for line in differences(resolved(faithful), here):
        key, value = line.split(": ", 1)[0], line.rsplit(" -> ", 1)[1]
        # Whole components are printed for readers; every other value as an override takes it.
        overrides.append(f"{key}={json.dumps(here[key]) if key in here else value}")
    assert differences(resolved(faithful, *overrides), here) == []


def test_arguments_that_were_added_later_are_printed_with_their_default() -> None:
    for name, line in {
        "cmc_cmkm": "loss.0.form: released -> ours",
        "masked_patchtst": "objective.0.shown: zeros -> nothing",
        "ssl_wearables": "objective.0.outputs: 2 -> 1",
    }.items():
        assert line in differences(resolved(FAITHFUL / f"{name}.yaml"), resolved(FAITHFUL.parent / f"{name}.yaml"))


def test_a_key_of_one_side_only_is_an_error() -> None:
    with pytest.raises(KeyError, match="only"):
        differences({"only": 2}, {})


def test_every_kind_of_difference_is_written() -> None:
    there = {
        "seed": 0,
        "encoder": {"name": "patch_tst", "width": 16, "heads": 4},
        "augment": [],
        "tower": None,
        "loss": [{"name": "info_nce", "weight": 1.0, "temperature": 0.1, "learned": True}],
        "optim": {"lr": 0.1, "clip_norm": None, "same": 1},
    }
    here = {
        "seed": 1,
        "encoder": {"name": "patch_tst", "width": 32, "heads": 4},
        "augment": [{"name": "rotate", "max_degrees": 25}, {"name": "jitter"}],
        "tower": {"name": "skeleton", "width": 4},
        "loss": [{"name": "info_nce", "weight": 0.5, "temperature": 0.2, "learned": True}],
        "optim": {"lr": 0.1, "clip_norm": 1.0, "same": 1},
    }
    assert differences(there, here) == [
        "seed: 0 -> 1",
        "encoder.width: 16 -> 32",
        "augment: [] -> rotate (max_degrees 25), jitter",
        "tower: null -> skeleton (width 4)",
        "loss.0.weight: 1.0 -> 0.5",
        "loss.0.temperature: 0.1 -> 0.2",
        "optim.clip_norm: null -> 1.0",
    ]
    other = here | {"loss": [{"name": "nt_xent", "weight": 1.0, "temperature": 0.5, "learned": False}]}
    assert differences(there, other)[-2] == "loss: info_nce (temperature 0.1) -> nt_xent (temperature 0.5)"


def test_an_old_block_is_replaced_and_a_missing_one_added() -> None:
    name = recipes()[0]
    content = (FAITHFUL.parent / f"{name}.yaml").read_text(encoding="utf-8")
    lines = content.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("# Differences from"))
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    without = "".join(lines[:start] + lines[end:])
    wrong = "".join([*lines[: start + 1], "#   optim.lr: 1 -> 2\n", *lines[end:]])
    assert with_block(without, name) == content
    assert with_block(wrong, name) == content
