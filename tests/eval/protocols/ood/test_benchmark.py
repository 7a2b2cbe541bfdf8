"""Runs, folders, tables: the same seed, the same run; a benchmark goes on where it was; controls are at chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from eval.data.windows import LabelledWindows
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.lines import collect, measure
from eval.protocols.ood.runs import Run, runs
from eval.protocols.ood.scenario import divide
from eval.protocols.ood.selection import Outcome
from eval.protocols.ood.settings import apply_setting
from eval.protocols.ood.tables import metric_tables
from eval.protocols.ood.train import Task, train
from imu_video.errors import ConfigError, DataError

CNN = {"name": "harood_cnn", "kernel": 5, "norm": "batch"}


def config(**changes: Any) -> OodConfig:
    raw: dict[str, Any] = {
        "scenario": {"name": "people", "axis": "subject", "groups": 3},
        "models": [{"name": "cnn", "backbone": CNN}],
        "algorithms": ["erm", {"name": "coral", "grid": {"gamma": [0.1, 1.0]}}],
        "training": {"steps": 40, "evaluate_every": 20, "batch": 8, "lr": 0.005},
        "seeds": [0, 1],
    }
    return OodConfig.model_validate({**raw, **changes})


def first(c: OodConfig, names: list[str]) -> Run:
    return runs(c, names)[0]


def test_runs_cover_the_grid(make: Callable[..., LabelledWindows]) -> None:
    names = list(divide(make(), config().scenario).names)
    assert len(runs(config(), names)) == 2 * 3 * (1 + 2)
    lodo = runs(config(selection=["source", "lodo"]), names)
    assert len(lodo) == 2 * 3 * (1 + 2 * (1 + 2))  # a grid without choices needs no left-out runs
    assert len({run.key for run in lodo}) == len(lodo)
    with pytest.raises(ConfigError, match="gama"):
        runs(config(algorithms=[{"name": "coral", "grid": {"gama": [1]}}]), names)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"algorithms": [{"name": "coral", "grid": {"gamma": []}}]},
            "the grid has 0 combinations, expected 1 to 10000",
        ),
        (
            {"algorithms": [{"name": "coral", "grid": {name: [1.0] * 1000 for name in "abcdef"}}]},
            "the grid has 1000000000000000000 combinations",
        ),
        (
            {"algorithms": [{"name": "coral", "grid": {"gamma": [1.0] * 10_000}}], "seeds": list(range(101))},
            "1010000 runs for each target, expected at most 1000000",
        ),
        ({"seeds": [1, 1]}, r"seeds must be distinct, got \[1, 1\]"),
        ({"training": {"betas": [0.9, float("nan")]}}, "betas"),
        ({"training": {"lr": float("inf")}}, "lr"),
    ],
)
def test_a_benchmark_that_never_ends_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**changes)


def test_a_run_is_reproducible_learns_and_counts_everybody(make: Callable[..., LabelledWindows]) -> None:
    windows = make(windows=4)
    c = config()
    task = Task(divide(windows, c.scenario), c)
    one, two = (train(task, first(c, list(task.domains.names))) for _ in range(2))
    for result in (one, two):
        result.pop("seconds")
    assert one == two
    assert set(one["people"]) == {"s00", "s01"}
    total = sum(np.sum(counts) for counts in one["people"].values())
    assert total == (windows.subject < "s02").sum()
    outcome = Outcome.of(one)
    assert outcome.score > 0.6
    assert [step for step, *_ in one["curve"]] == [20, 40]
    assert one["valid"] == pytest.approx(max(valid for _, valid, _ in one["curve"]), abs=1e-6)
    score_there = next(score for step, _, score in one["curve"] if step == one["steps"])
    assert outcome.score == pytest.approx(score_there, abs=1e-6)


def test_shuffled_labels_are_at_chance(make: Callable[..., LabelledWindows]) -> None:
    windows = make(windows=4, people=9)
    shuffled = replace(windows, labels=np.random.default_rng(0).permutation(windows.labels))
    c = config()
    task = Task(divide(shuffled, c.scenario), c)
    scores = [
        Outcome.of(train(task, run)).score
        for run in runs(config(algorithms=["erm"], seeds=[0]), list(task.domains.names))
    ]
    assert np.mean(scores) == pytest.approx(0.25, abs=0.07)


def test_a_frozen_encoder_keeps_its_weights(make: Callable[..., LabelledWindows]) -> None:
    c = config(models=[{"name": "cnn", "backbone": CNN, "train": "head"}])
    task = Task(divide(make(), c.scenario), c)
    network = task.network(c.models[0], np.arange(50), seed=0)
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    network.train()
    network(task.batch(np.arange(8), network.encoder.spec).imu)
    assert all(np.array_equal(before[k], v) for k, v in network.encoder.state_dict().items())
    assert [n for n, p in network.named_parameters() if p.requires_grad] == ["classifier.weight", "classifier.bias"]


def test_folder_resumes_and_several_processes_give_the_same(
    make: Callable[..., LabelledWindows], tmp_path: Path, logged: Any
) -> None:
    c = config(training={"steps": 6, "evaluate_every": 3, "batch": 4})
    domains = divide(make(), c.scenario)
    folder = Folder(tmp_path / "a", c, data="d", models={})
    todo = plan(c, domains, folder)
    work(domains, c, todo[:5], folder)
    left = plan(c, domains, folder)
    assert left == todo[5:]
    halves = [plan(c, domains, folder, part=(i, 2)) for i in (1, 2)]
    assert sorted(r.key for h in halves for r in h) == sorted(r.key for r in left)
    with pytest.raises(DataError, match="13 of 18 runs are not finished"):
        collect(folder, runs(c, list(domains.names)))
    before = len(logged.lines)
    work(domains, c, left, folder, workers=2)
    assert len(logged.lines) == before + 13
    with pytest.raises(ConfigError, match="unknown engine 'slurm'"):
        work(domains, c, left, folder, engine="slurm")
    alone = Folder(tmp_path / "b", c, data="d", models={})
    work(domains, c, todo, alone)
    for run in todo:
        a, b = (json.loads(f.file(run).read_text()) for f in (folder, alone))
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    grown = config(training={"steps": 6, "evaluate_every": 3, "batch": 4}, seeds=[0, 1, 2], algorithms=["erm", "vrex"])
    kept = plan(grown, domains, Folder(tmp_path / "a", grown, data="d", models={}))
    assert {(r.algorithm, r.seed) for r in kept} == {("erm", 2), ("vrex", 0), ("vrex", 1), ("vrex", 2)}
    with pytest.raises(ConfigError, match="another training"):
        Folder(tmp_path / "a", config(), data="d", models={})
    with pytest.raises(ConfigError, match="another data"):
        Folder(tmp_path / "a", c, data="e", models={})


def test_a_setting_replaces_keys_of_the_training(make: Callable[..., LabelledWindows], tmp_path: Path) -> None:
    """Betas and statistics by algorithm, as in the released code of HAROOD; the checkpoints of its schedule."""
    named = [
        {"name": "erm", "fixed": {"betas": [0.9, 0.999]}},
        {"name": "coral", "fixed": {"statistics": "per_domain"}, "grid": {"gamma": [1.0], "lr": [0.01, 0.1]}},
    ]
    schedule = {"steps": 11, "evaluate_every": 3, "first_evaluation": 1, "batch": 4}
    c = config(algorithms=named, training=schedule, seeds=[0])
    task = Task(divide(make(), c.scenario), c)
    some = runs(c, list(task.domains.names))
    assert len(some) == 3 * 3
    settings = {dict(r.setting).get("lr"): dict(r.setting) for r in some}
    assert settings == {
        None: {"betas": (0.9, 0.999)},
        0.01: {"gamma": 1.0, "lr": 0.01, "statistics": "per_domain"},
        0.1: {"gamma": 1.0, "lr": 0.1, "statistics": "per_domain"},
    }
    training, arguments = apply_setting(c.training, settings[0.1])
    assert (training.lr, training.statistics, training.betas, arguments) == (
        0.1,
        "per_domain",
        (0.5, 0.9),
        {"gamma": 1.0},
    )
    result = train(task, some[0])
    assert [step for step, *_ in result["curve"]] == [1, 4, 7, 10, 11]
    plain = config(algorithms=["erm"], training=schedule, seeds=[0])
    assert train(Task(task.domains, plain), runs(plain, list(task.domains.names))[0])["curve"] != result["curve"]
    work(task.domains, c, some, folder := Folder(tmp_path, c, data="d", models={}))
    assert {o.setting for o in collect(folder, some)} == {r.setting for r in some}
    for wrong, words in (
        ({"betas": [0.9]}, r"algorithm 'erm': .*betas"),
        ({"statistics": "jiont"}, "statistics"),
        ({"lr": "fast"}, "lr"),
    ):
        with pytest.raises(ConfigError, match=words):
            runs(config(algorithms=[{"name": "erm", "fixed": wrong}]), ["a", "b"])


def test_a_folder_without_the_newer_keys_is_continued(make: Callable[..., LabelledWindows], tmp_path: Path) -> None:
    c = config()
    facts = Folder(tmp_path, c, data="d", models={}).path / "benchmark.json"
    stored = json.loads(facts.read_text())
    for section, key in (("scenario", "validation_by"), ("scenario", "absent"), ("training", "first_evaluation")):
        del stored["identity"][section][key]
    facts.write_text(json.dumps(stored))
    Folder(tmp_path, c, data="d", models={})
    facts.write_text(json.dumps(stored))
    scenario = {"name": "people", "axis": "subject", "groups": 3, "validation_by": "windows"}
    with pytest.raises(ConfigError, match="another scenario"):
        Folder(tmp_path, config(scenario=scenario), data="d", models={})


def test_result_lines_and_tables(make: Callable[..., LabelledWindows], tmp_path: Path) -> None:
    c = config(training={"steps": 6, "evaluate_every": 3, "batch": 4})
    domains = divide(make(), c.scenario)
    folder = Folder(tmp_path, c, data="d", models={})
    work(domains, c, plan(c, domains, folder), folder)
    outcomes = collect(folder, runs(c, list(domains.names)))
    results = measure(outcomes, c, {})
    assert {(r.kind, r.model, r.probe) for r in results} == {
        (kind, model, rule)
        for rule in ("source", "oracle")
        for kind, model in (("ood", "erm on cnn"), ("ood", "coral on cnn"), ("ood-difference", "coral on cnn"))
    }
    erm = next(r for r in results if r.model == "erm on cnn" and r.metric == "accuracy" and r.probe == "source")
    own = [o for o in outcomes if o.algorithm == "erm"]
    each = {
        s: np.mean([np.trace(o.people[s]) / o.people[s].sum() for o in own if s in o.people])
        for s in domains.windows.subject
    }
    assert erm.value == pytest.approx(np.mean(list(each.values())))
    assert erm.subjects == 6
    assert erm.episodes == 2
    assert erm.details["worst_person"][1] == pytest.approx(min(each.values()))
    assert erm.details["validation_by"] == "times"
    assert "remarks" not in erm.details
    by_seed = {t: [o.score for o in own if o.target == t] for t in domains.names}
    for target, scores in by_seed.items():
        assert erm.details["by_target"][target] == pytest.approx(np.mean(scores), abs=1e-4)
        assert erm.details["deviation_by_target"][target] == pytest.approx(np.std(scores), abs=1e-4)
    each_seed = np.mean(list(by_seed.values()), axis=0)
    assert erm.details["accuracy_over_targets"] == pytest.approx(each_seed.mean(), abs=1e-4)
    assert erm.details["deviation_over_seeds"] == pytest.approx(each_seed.std(), abs=1e-4)
    random = c.model_copy(update={"scenario": c.scenario.model_copy(update={"validation_by": "windows"})})
    assert all("overlap training windows" in r.details["remarks"][0] for r in measure(outcomes, random, {}))
    difference = next(r for r in results if r.kind == "ood-difference" and r.metric == "accuracy")
    assert 0 < difference.details["p_holm"] <= 1
    shown = metric_tables(results, "accuracy")
    assert " ± " in str(shown[0].rows[0][2])
    assert len(shown) == 4
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)


def test_a_search_is_selected_as_in_domainbed(make: Callable[..., LabelledWindows], tmp_path: Path) -> None:
    search = {"number": 2, "redraw": True, "random": {"lr": {"log10": [-3, -2]}, "batch_size": {"choice": [4, 6]}}}
    c = config(
        scenario={"name": "people", "axis": "subject", "groups": 3, "targets": ["s00..s01"]},
        algorithms=["erm"],
        training={"steps": 4, "evaluate_every": 2, "batch": 4},
        search=search,
        select="per_seed",
        selection=["source", "oracle_last", "lodo_step"],
    )
    domains = divide(make(recordings=1), c.scenario)
    folder = Folder(tmp_path, c, data="d", models={})
    todo = plan(c, domains, folder)
    assert len(todo) == 2 * 2 * (1 + 2)  # seeds, settings, with and without each left-out source
    work(domains, c, todo, folder)
    outcomes = collect(folder, runs(c, list(domains.names)))
    assert all(o.checkpoints is not None and set(o.checkpoints) == {2, 4} for o in outcomes)
    results = {r.probe: r for r in measure(outcomes, c, {}) if r.metric == "accuracy"}
    last = [o.at(4) for o in outcomes if o.held is None]
    for target in domains.names[:1]:
        best = [max(o.score for o in last if (o.target, o.seed) == (target, seed)) for seed in (0, 1)]
        assert results["oracle_last"].details["by_target"][target] == pytest.approx(np.mean(best), abs=1e-4)
    assert len(results["lodo_step"].details["settings"][domains.names[0]]) == 2, "one per seed"
    # The same folder serves the other rules: what selects among runs does not change them.
    Folder(tmp_path, c.model_copy(update={"select": "per_seed", "selection": ["source"]}), data="d", models={})
