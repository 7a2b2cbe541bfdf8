"""Stated confidence in the benchmark: bins of a run, figures of subjects and targets against slow loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.algorithms import algorithms
from eval.algorithms.erm import ERM
from eval.data.windows import LabelledWindows
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.lines import collect, measure
from eval.protocols.ood.runs import Run, runs
from eval.protocols.ood.scenario import divide
from eval.protocols.ood.sections import ood_sections
from eval.protocols.ood.tables import run_tables
from eval.protocols.ood.train import Task, train
from tests.eval.protocols.ood.test_benchmark import config

SHORT = {"steps": 6, "evaluate_every": 3, "batch": 4}


@pytest.fixture(scope="module")
def files(make: Callable[..., LabelledWindows], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Folder]:
    """A finished benchmark: two seeds, three targets, ERM and CORAL."""
    conf = config(training=SHORT, algorithms=["erm", "coral"])
    domains = divide(make(), conf.scenario)
    folder = Folder(tmp_path_factory.mktemp("bins"), conf, data="d", models={})
    work(domains, conf, plan(conf, domains, folder), folder)
    return conf, domains, folder


def test_bins_of_a_run_hold_every_answer(files: tuple[Any, Any, Folder]) -> None:
    conf, domains, folder = files
    for run in runs(conf, list(domains.names))[:3]:
        result = folder.result(run)
        assert result is not None
        for subject, counts in result["people"].items():
            bins = np.array(result["bins"][subject])
            assert bins.shape == (15, 3)
            assert bins[:, 0].sum() == np.sum(counts)
            assert bins[:, 2].sum() == np.trace(np.array(counts))
            edges = np.arange(16)[:, None] / 15
            inside = bins[:, 0] > 0
            mean = bins[inside, 1] / bins[inside, 0]
            assert (mean > edges[:-1, 0][inside] - 1e-6).all()
            assert (mean <= edges[1:, 0][inside] + 1e-6).all()
        assert min(b[1] / b[0] for own in result["bins"].values() for b in own if b[0]) >= 0.25, "of four classes"


def test_lines_equal_loops_over_people_and_targets(files: tuple[Any, Any, Folder]) -> None:
    conf, domains, folder = files
    results = measure(collect(folder, runs(conf, list(domains.names))), conf, {})
    lines = {r.metric: r for r in results if r.model == "erm on cnn" and r.probe == "source" and r.kind == "ood"}
    assert sum(r.metric == "ece" for r in results) == 2 * 2  # algorithms, rules
    held = [json.loads(p.read_text()) for p in (folder.path / "runs").iterdir()]
    held = [h for h in held if h["algorithm"] == "erm"]

    def error(some: list[dict[str, Any]]) -> float:
        people = [np.array(bins) for h in some for bins in h["bins"].values()]
        table = np.mean([bins / bins[:, 0].sum() for bins in people], axis=0)
        return float(np.abs(table[:, 1] - table[:, 2]).sum())

    own = [[h for h in held if h["seed"] == seed] for seed in (0, 1)]
    assert lines["ece"].value == pytest.approx(np.mean([error(some) for some in own]), abs=1e-6)
    for target in domains.names:
        there = np.mean([error([h for h in some if h["target"] == target]) for some in own])
        assert lines["ece"].details["by_target"][target] == pytest.approx(there, abs=1e-4)
    over: dict[str, list[float]] = {}
    for h in held:
        for subject, bins in h["bins"].items():
            n, stated, hits = np.sum(bins, axis=0)
            over.setdefault(subject, []).append((stated - hits) / n)
    assert lines["overconfidence"].value == pytest.approx(np.mean([np.mean(v) for v in over.values()]), abs=1e-6)
    assert lines["overconfidence"].low is not None
    assert np.sum(lines["ece"].details["bins"], axis=0)[0] == pytest.approx(1, abs=1e-4)
    table = run_tables(results)[-1]
    assert len(table.rows) == 4
    assert all(len(row) == len(table.columns) for row in table.rows)
    _, calibration = ood_sections(results)
    assert len(calibration.blocks) == 3


def test_a_model_without_bins_in_some_run_has_no_calibration(files: tuple[Any, Any, Folder], tmp_path: Path) -> None:
    conf, domains, folder = files
    other = Folder(tmp_path, conf, data="d", models={})
    for run in runs(conf, list(domains.names)):
        result = dict(folder.result(run) or {})
        if run.algorithm == "erm" and run.seed == 0:
            del result["bins"]
        other.keep(run, result)
    results = measure(collect(other, runs(conf, list(domains.names))), conf, {})
    assert {r.model for r in results if r.metric == "ece"} == {"coral on cnn"}
    assert {r.model for r in results if r.metric == "accuracy"} == {"erm on cnn", "coral on cnn"}
    assert run_tables([r for r in results if r.metric == "accuracy"])[-1].rows == []


@pytest.mark.parametrize("how", ["silent", "diverged"])
def test_scores_that_are_no_probabilities(how: str, make: Callable[..., LabelledWindows]) -> None:
    """Of a plugin's scores that are none nothing is stated; a network that diverged states no more than a guess."""

    class Odd(ERM):
        """Another kind of score."""

        if how == "silent":
            confidence = None

        def predict(self, imu: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return torch.full((len(imu), 4), torch.nan) if how == "diverged" else super().predict(imu, mask) * 0

    name = f"test_{how}"
    algorithms.register(name)(Odd)
    conf = config(training=SHORT)
    task = Task(divide(make(), conf.scenario), conf)
    run = Run(model="cnn", algorithm=name, setting=(), target=task.domains.names[0], held=None, seed=0)
    result = train(task, run)
    if how == "silent":
        assert "bins" not in result
    else:
        stated = np.sum([np.array(own) for own in result["bins"].values()], axis=(0, 1))
        assert stated[1] / stated[0] == pytest.approx(0.25)
