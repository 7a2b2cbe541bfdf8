"""Folds and pretraining seeds as factors of the benchmark's lines, from made-up outcomes without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.data.windows import LabelledWindows
from eval.protocols.ood import benchmark as module
from eval.protocols.ood.benchmark import expand
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.lines import measure
from eval.protocols.ood.scenario import divide, folds_of
from eval.protocols.ood.selection import Outcome
from eval.recipes import Recipe

CNN = {"name": "harood_cnn", "kernel": 5, "norm": "batch"}
SUBJECTS = tuple(f"s{number:02d}" for number in range(8))


def config(**changes: Any) -> OodConfig:
    raw: dict[str, Any] = {
        "scenario": {"name": "places", "axis": "placement", "folds": 2},
        "models": [{"name": "cnn", "backbone": CNN}],
        "seeds": [0, 1],
    }
    return OodConfig.model_validate({**raw, **changes})


def outcome(
    rng: np.random.Generator, model: str, seed: int, tested: tuple[str, ...], algorithm: str = "erm"
) -> Outcome:
    """A run on one target: 20 windows per subject in two classes."""
    right = {s: int(rng.integers(4, 10)) for s in tested}
    people = {s: np.array([[n, 10 - n], [10 - n, n]]) for s, n in right.items()}
    score = float(np.mean([n / 10 for n in right.values()]))
    return Outcome(
        model=model, algorithm=algorithm, setting=(), target="wrist", held=None, seed=seed, valid=0.5, score=score,
        people=people,
    )  # fmt: skip


def test_subjects_in_several_domains_are_tested_in_the_folds_of_the_seeds(make: Callable[..., LabelledWindows]) -> None:
    c = config()
    folds = folds_of(divide(make(), c.scenario), c)
    assert folds is not None
    assert sorted(folds) == sorted(set(make().subject.tolist()))
    assert sorted(folds.values()) == ["fold 0"] * 3 + ["fold 1"] * 3
    shared = config(scenario={"name": "places", "axis": "placement", "people": "shared"})
    assert folds_of(divide(make(), shared.scenario), shared) is None


def test_groups_of_subjects_are_folds_and_other_targets_are_not(make: Callable[..., LabelledWindows]) -> None:
    people = config(scenario={"name": "people", "axis": "subject", "groups": 3})
    folds = folds_of(divide(make(), people.scenario), people)
    assert folds is not None
    assert folds["s00"] == folds["s01"] == "s00..s01"
    device = config(scenario={"name": "half", "axis": "subject", "domains": {"a": ["s00", "s01"], "b": ["s02"]}})
    assert set(folds_of(divide(make(), device.scenario), device) or {}) == {"s00", "s01", "s02"}


def test_lines_of_folds_have_the_factor_and_the_remark() -> None:
    rng = np.random.default_rng(0)
    halves = SUBJECTS[:4], SUBJECTS[4:]
    runs = [outcome(rng, "cnn", seed, halves[seed]) for seed in (0, 1)]
    folds = {s: f"fold {number // 4}" for number, s in enumerate(SUBJECTS)}
    lines = measure(runs, config(), {}, folds=folds)
    accuracy = next(r for r in lines if r.metric == "accuracy")
    facts = accuracy.details["inference"]
    assert facts["folds"] == 2
    assert "seed" not in facts["levels"], "seeds and folds are one factor"
    assert any("training sets overlap" in remark for remark in facts["remarks"])
    assert (accuracy.subjects, accuracy.value) == (8, pytest.approx(np.mean([o.score for o in runs])))


def test_encoders_of_one_recipe_are_one_model_and_its_seeds_a_factor() -> None:
    rng = np.random.default_rng(1)
    names = [f"mine.seed{k}" for k in (0, 1, 2)] + [f"other.seed{k}" for k in (0, 1)]
    runs = [
        outcome(rng, name, seed, SUBJECTS, algorithm)
        for name in [*names, "cnn"]
        for seed in (0, 1)
        for algorithm in ("erm", "coral")
    ]
    members = {name: name.split(".")[0] for name in names}
    pretraining = {"mine": [0, 1, 2], "other": [0, 1]}
    c = config(models=[{"name": "other.seed0", "encoder": "x"}, {"name": "cnn", "backbone": CNN}], selection=["source"])
    lines = [r for r in measure(runs, c, {}, members=members, pretraining=pretraining) if r.metric == "accuracy"]
    found = {(r.model, r.reference): r for r in lines}
    mine = found["erm on mine", None]
    assert mine.details["inference"]["levels"] == {"subject": 8, "seed": 2, "pretraining seed": 3}
    assert mine.seeds == {"runs": [0, 1], "pretraining": [0, 1, 2]}
    assert mine.value == pytest.approx(np.mean([o.score for o in runs if o.algorithm == "erm" and "mine" in o.model]))
    paired = found["coral on mine", "erm on mine"].details["inference"]["levels"]
    assert paired == {"subject": 8, "seed": 2, "pretraining seed": 3}, "the same encoders are paired"
    both = found["erm on mine", "erm on other"].details["inference"]["levels"]
    assert both == {"subject": 8, "seed": 2, "pretraining seed": 3, "pretraining seed of the reference": 2}
    assert found["erm on mine", "erm on other"].value == pytest.approx(mine.value - found["erm on other", None].value)


def test_a_model_with_several_encoders_becomes_one_model_per_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tuple(tmp_path / "mine" / name for name in ("a", "b"))
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    recipe = Recipe(name="mine", folders=folders, facts=({}, {}), seeds=(4, 5))
    monkeypatch.setattr(module, "read_recipe", lambda path: recipe)
    c = config(models=[{"name": "cnn", "backbone": CNN}, {"name": "m", "encoder": str(tmp_path / "mine"), "lr": 0.1}])
    expanded, recipes = expand(c)
    assert [(m.name, m.encoder, m.lr) for m in expanded.models] == [
        ("cnn", None, None), ("m.seed4", str(folders[0]), 0.1), ("m.seed5", str(folders[1]), 0.1),
    ]  # fmt: skip
    assert recipes == {"m": recipe}
    single = config(models=[{"name": "m", "encoder": str(folders[0])}])
    assert expand(single) == (single, {})
