"""Options of `imu-eval ood`: encoders of the command line become models of the config."""

from __future__ import annotations

import pytest

from eval.protocols.ood.protocol import load
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
