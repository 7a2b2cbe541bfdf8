"""Options of `imu-eval ood`: encoders become models of the config, several configs and overrides change its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.protocols.ood.protocol import DomainShift, load
from imu_video.config import find
from imu_video.errors import ConfigError

BENCHMARK = find("configs/eval/ood/hapt_person.yaml")


def test_encoders_are_added_to_the_models() -> None:
    config = load(BENCHMARK, ["seeds=[7]"], ["one=a/b", "two=c=d"], "head")
    added = [(m.name, m.encoder, m.train) for m in config.models[-2:]]
    assert added == [("one", "a/b", "head"), ("two", "c=d", "head")]
    assert len(config.models) == len(load(BENCHMARK, [], [], "all").models) + 2
    assert list(config.seeds) == [7]


@pytest.mark.parametrize(
    ("encoders", "train", "words"),
    [
        (["one"], "all", "--encoder 'one': expected NAME=FOLDER"),
        (["one=a", "one=b"], "all", r"--encoder: models must have distinct names, got \[.*'one', 'one'\]"),
        (["one=a"], "tail", "--train 'tail': expected all, head or wise"),
    ],
)
def test_wrong_options_are_one_message(encoders: list[str], train: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(BENCHMARK, [], encoders, train)


def test_overrides_beside_the_folders_and_after_set(tmp_path: Path) -> None:
    given = [str(tmp_path), "scenario.groups=3", "training.steps=10", "algorithms=[erm, coral]", "seeds=[4]"]
    command = DomainShift(data=given, config=[BENCHMARK], set_=["seeds=[5]", "training.batch=4"])
    assert command.data == [tmp_path]
    config = command.config
    assert (config.scenario.groups, config.training.steps, config.training.batch, config.seeds) == (3, 10, 4, [4])
    assert [entry.name for entry in config.algorithms] == ["erm", "coral"]
    assert [e.name for e in load(BENCHMARK, ["algorithms=vrex"], [], "all").algorithms] == ["vrex"]
    with pytest.raises(ConfigError, match=r"unknown key 'training\.stesp'"):
        DomainShift(data=[str(tmp_path), "training.stesp=10"], config=[BENCHMARK])


def test_a_later_config_changes_keys_of_an_earlier_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(
        "scenario: {name: s, axis: subject}\n"
        "models: {a: {backbone: {name: harood_cnn, kernel: 9}}, b: {backbone: {name: harood_transformer}}}\n"
        "training: {steps: 7, batch: 8}\n"
    )
    two.write_text("models: {a: {backbone: {kernel: 6}}, c: {backbone: {name: tpn}}}\ntraining: {steps: 9}\n")
    config = load([one, two], ["training.batch=4"], [], "all")
    assert [(m.name, m.backbone) for m in config.models] == [
        ("a", {"name": "harood_cnn", "kernel": 6}),
        ("b", {"name": "harood_transformer"}),
        ("c", {"name": "tpn"}),
    ]
    assert (config.training.steps, config.training.batch) == (9, 4)
    two.write_text("models: {a: 3}")
    with pytest.raises(ConfigError, match=r"one.yaml and .*two.yaml: .*models"):
        load([one, two], [], [], "all")


def test_workers_find_shipped_encoders_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.protocols.ood.grid import _absolute

    assert (Path(_absolute("imu-video/small")) / "config.json").is_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoders" / "mine").mkdir(parents=True)
    assert _absolute("encoders/mine") == str(tmp_path / "encoders" / "mine")
