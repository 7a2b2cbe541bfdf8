"""Random search: what a draw depends on, and configs that cannot be meant; DomainBed's numbers in the shipped file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eval.algorithms import algorithms
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.protocol import load
from eval.protocols.ood.runs import runs
from eval.protocols.ood.search import Distribution, Search
from imu_video.config import validate
from imu_video.errors import ConfigError

MODEL = {"name": "cnn", "backbone": {"name": "harood_cnn", "kernel": 5, "norm": "batch"}}


def config(**options: Any) -> OodConfig:
    plain: dict[str, Any] = {"scenario": {"name": "s", "axis": "subject"}, "models": [MODEL], "seeds": [0, 1]}
    return validate({**plain, **options}, OodConfig, source="test")


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        ({"uniform": [0.5, 1.0]}, 0.5, 1.0),
        ({"log10": [-2, 2]}, 0.01, 100.0),
        ({"log2": [3, 9], "whole": True}, 8, 511),
        ({"choice": [0.05, 0.1, 0.5]}, 0.05, 0.5),
    ],
)
def test_draws_fill_their_range(spec: dict[str, Any], low: float, high: float) -> None:
    rng, distribution = np.random.default_rng(0), validate(spec, Distribution, source="test")
    values = [distribution.draw(rng) for _ in range(2000)]
    assert low <= min(values) <= max(values) <= high
    middle = np.median(values)
    expected = np.sqrt(low * high) if {"log10", "log2"} & set(spec) else 0.1 if "choice" in spec else 0.75
    assert middle == pytest.approx(expected, rel=0.35)
    assert all(isinstance(v, int) for v in values) == spec.get("whole", False)


def test_a_draw_depends_on_seed_number_and_name_alone() -> None:
    lr = {"lr": Distribution(log10=(-4, -2))}
    few, many = Search(number=3, random=lr), Search(number=6, random=lr)
    gamma = {"gamma": Distribution(uniform=(0, 1))}
    assert many.settings({}, {}, 0)[:3] == few.settings({}, {}, 5)
    assert [s["lr"] for s in few.settings(gamma, {}, 0)[1:]] == [s["lr"] for s in few.settings({}, {}, 0)[1:]]
    assert few.settings(gamma, {"gamma": 0.5}, 0)[0] == {"gamma": 0.5}, "the first setting has the defaults"
    assert Search(number=1, defaults=False, random=lr).settings({}, {}, 0)[0].keys() == {"lr"}
    again = Search(number=3, redraw=True, random=lr)
    assert again.settings({}, {}, 0) == again.settings({}, {}, 0)
    assert again.settings({}, {}, 0)[1] != again.settings({}, {}, 1)[1]
    assert Search(number=3, seed=1, random=lr).settings({}, {}, 0)[1] != few.settings({}, {}, 0)[1]


def test_runs_of_a_search() -> None:
    entries = [
        "erm",
        {"name": "coral", "random": {"gamma": {"log10": [-1, 1]}}},
        {"name": "mmd", "grid": {"gamma": [1]}},
    ]
    search = {"number": 4, "random": {"lr": {"log10": [-4, -2]}, "batch_size": {"log2": [1, 3], "whole": True}}}
    made = runs(config(algorithms=entries, search=search), ["a", "b"])
    numbers = {name: sum(r.algorithm == name for r in made) for name in ("erm", "coral", "mmd")}
    assert numbers == {"erm": 2 * 2 * 4, "coral": 2 * 2 * 4, "mmd": 2 * 2}
    assert {r.setting for r in made if r.seed == 0} == {r.setting for r in made if r.seed == 1}
    redrawn = runs(config(algorithms=entries, search={**search, "redraw": True}, select="per_seed"), ["a", "b"])
    own = [{r.setting for r in redrawn if r.seed == seed and r.algorithm == "coral"} for seed in (0, 1)]
    assert len(own[0]) == len(own[1]) == 4
    assert len(own[0] & own[1]) == 1, "the defaults"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithms": [{"name": "coral", "random": {"gamma": {"log10": [1, 1]}}}]}, "first number must be below"),
        (
            {"algorithms": [{"name": "coral", "random": {"gamma": {}}}]},
            "exactly one of uniform, log10, log2 and choice",
        ),
        ({"algorithms": [{"name": "coral", "random": {"gamma": {"choice": [1]}}}]}, "but there is no 'search'"),
        (
            {"algorithms": [{"name": "coral", "random": {"gamma": {"choice": [1]}}, "grid": {"gamma": [1]}}]},
            "'grid' and 'random' exclude each other",
        ),
        ({"search": {"redraw": True}}, "requires select: per_seed"),
        ({"search": {"number": 0}}, "search.number"),
        (
            {"models": [{"name": "m", "encoder": "e", "train": "wise"}], "selection": ["oracle_last"]},
            "selects a checkpoint; model 'm' is interpolated",
        ),
    ],
)
def test_searches_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**options)


def test_the_shipped_search_is_that_of_domainbed() -> None:
    files = ["configs/eval/ood/hapt_person.yaml", "configs/protocols/domainbed/ood.yaml"]
    shipped = load(files, [], [], "all")
    assert shipped.search is not None
    assert (shipped.search.number, shipped.search.redraw, shipped.select) == (20, True, "per_seed")
    assert set(shipped.selection) == {"source", "lodo_step", "oracle_last"}
    assert (shipped.training.steps, len(shipped.seeds)) == (5000, 3)
    # `fusion` is FusionActNet's classifier and its training, no algorithm of domain generalisation.
    assert {e.name for e in shipped.algorithms} | {"fusion"} == set(algorithms.names()) - {
        n for n in algorithms.names() if n.startswith("test_")
    }
    few = shipped.model_copy(update={"seeds": [0], "algorithms": shipped.algorithms})
    made = runs(few, ["a", "b", "c"])  # validates the arguments of every draw
    assert len(made) == 16 * 20 * 3 * (1 + 2)
    by_name = {e.name: e for e in shipped.algorithms}
    rng = np.random.default_rng(0)
    assert 0.1 <= by_name["vrex"].random["penalty"].draw(rng) <= 1e5
    assert by_name["groupdro"].fixed == {"eta": 0.01}
