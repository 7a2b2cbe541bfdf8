"""The base of protocols on one encoder: every subclass has the common options, and short options yield to overrides."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import eval.protocols.base as base
from eval import recipes
from eval.config import EvalConfig
from eval.protocol import Context, Protocol, protocols
from eval.results.lines import Result
from imu_video.errors import ConfigError
from imu_video.shards.reading import index as reading

COMMON = set(inspect.signature(base.EncoderProtocol).parameters) - {"short"}
ON_ONE_ENCODER = [p for p in map(protocols.get, protocols.names()) if issubclass(p, base.EncoderProtocol)]
CONFIG = Path(__file__).resolve().parents[3] / "configs" / "eval" / "base.yaml"


class Recording(base.EncoderProtocol):
    """Records the arguments of each evaluation."""

    name = "recording"

    def evaluate(self, index: Any, config: EvalConfig, shared: dict[str, Any], context: Context) -> list[Result]:
        self.seen = (index, config, shared)
        return []


def test_the_protocols_on_one_encoder_share_the_base() -> None:
    assert {p.name for p in ON_ONE_ENCODER} == {"fewshot", "retrieval", "zeroshot"}


@pytest.mark.parametrize("protocol", ON_ONE_ENCODER, ids=lambda p: p.name)
def test_a_command_has_every_common_option(protocol: type[Protocol]) -> None:
    parameters = inspect.signature(protocol).parameters
    assert parameters.keys() >= COMMON
    required = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required == {"encoder", "data"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    index = SimpleNamespace(placements=("waist", "wrist"), tags={})
    monkeypatch.setattr(reading, "load_index", lambda folder: index)
    monkeypatch.setattr(recipes, "read_recipe", lambda folder, also: (folder, *also))
    monkeypatch.setattr(base, "encoder_provenance", lambda recipe, index, config: {"encoder": recipe})
    return index


def evaluated(**changed: Any) -> EvalConfig:
    options: dict[str, Any] = dict.fromkeys(["overrides", "split", "placement", "by"])
    options |= {"encoder": Path("e"), "data": Path("d"), "config": CONFIG, "short": {}}
    protocol = Recording(**{**options, **changed})
    assert protocol.run(Context()) == []
    return protocol.seen[1]


def test_overrides_follow_short_options(opened: SimpleNamespace) -> None:
    short = {"retrieval.gallery": 50, "episodes.episodes": None}
    assert evaluated(short=short).retrieval.gallery == 50
    assert evaluated(short=short).episodes == evaluated().episodes, "None keeps the value of the config"
    assert evaluated(short=short, overrides=["retrieval.gallery=60"]).retrieval.gallery == 60


def test_the_domains_of_the_command_replace_those_of_the_config(opened: SimpleNamespace) -> None:
    names = [domain.name for domain in evaluated(split=["test"], by=["placement"]).domains]
    assert names == ["people", "placement=waist", "placement=wrist"]
    with pytest.raises(ConfigError, match="--placement and --by require --split"):
        evaluated(by=["placement"])
