"""WiSE-FT in the benchmark: its curve ends in probe and tuned network; alpha is never chosen on the target."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.algorithms import AdamSettings
from eval.data.windows import LabelledWindows
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.lines import collect, measure
from eval.protocols.ood.runs import Run, runs
from eval.protocols.ood.scenario import divide
from eval.protocols.ood.selection import Outcome
from eval.protocols.ood.tables import metric_tables
from eval.protocols.ood.train import Task, train
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.errors import ConfigError
from tests.eval.protocols.ood.test_benchmark import CNN, config

SHORT: dict[str, Any] = {"steps": 8, "evaluate_every": 4, "batch": 8, "lr": 0.005}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
        folder = tmp_path_factory.mktemp("wise") / "encoder"
        EncoderBundle(spec=spec, encoder=CNN).save(folder)
    return str(folder)


def wise(encoder: str, **changes: Any) -> OodConfig:
    models = [{"name": t, "encoder": encoder, "train": t, **changes.pop(t, {})} for t in ("wise", "head", "all")]
    return config(models=models, training=SHORT, **changes)


def of(conf: OodConfig, task: Task, model: str, algorithm: str = "erm") -> Run:
    everything = runs(conf, list(task.domains.names))
    return next(r for r in everything if r.model == model and r.algorithm == algorithm)


@pytest.mark.parametrize("algorithm", ["erm", "ermpp", "lag", "urm", "fish"])
def test_the_ends_are_the_probe_and_the_tuned_network(
    algorithm: str, encoder: str, make: Callable[..., LabelledWindows], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": algorithm, "fixed": {"linear_steps": 2, "average_from": 3}} if algorithm == "ermpp" else algorithm
    conf = wise(encoder, algorithms=[entry])
    task = Task(divide(make(), conf.scenario), conf)
    frozen: list[bool] = []
    monkeypatch.setattr("eval.algorithms.Network.freeze", _noting(frozen))
    result = train(task, of(conf, task, "wise", algorithm))
    assert frozen == [False, True, False]
    head = train(task, of(conf, task, "head", algorithm))
    curve = {alpha: (valid, score) for alpha, valid, score in result["by_alpha"]}
    assert list(curve) == list(conf.models[0].alphas)
    probe = Outcome.of(head)
    assert curve[0.0] == (pytest.approx(probe.valid, abs=1e-6), pytest.approx(probe.score, abs=1e-6))
    assert result["probe_steps"] == head["steps"]
    tuned = max(result["curve"], key=lambda point: (point[1], -point[0]))
    assert [tuned[1:], tuned[0]] == [list(curve[1.0]), result["steps"]]
    assert curve[result["alpha"]][0] == pytest.approx(max(valid for valid, _ in curve.values()))
    outcome = Outcome.of(result)
    assert (outcome.valid, outcome.score) == pytest.approx(curve[result["alpha"]], abs=1e-6)
    assert "by_alpha" not in head


def _noting(frozen: list[bool]) -> Callable[..., None]:
    from eval.algorithms import Network

    freeze = Network.freeze

    def noting(self: Network, on: bool) -> None:
        frozen.append(on)
        freeze(self, on)

    return noting


def test_alpha_knows_nothing_of_the_target(encoder: str, make: Callable[..., LabelledWindows]) -> None:
    """Other labels of the asked people change their figures, never the choice."""
    windows = make()
    conf = wise(encoder, algorithms=["erm"])
    chosen, scores = [], []
    for shift in (0, 1):
        domains = divide(windows, conf.scenario)
        asked = domains.of == 0
        domains.windows.labels[asked] = (domains.windows.labels[asked] + shift) % 4
        run = of(conf, Task(domains, conf), "wise")
        assert run.target == domains.names[0]
        result = train(Task(domains, conf), run)
        chosen.append((result["alpha"], result["valid"], [row[1] for row in result["by_alpha"]]))
        scores.append([row[2] for row in result["by_alpha"]])
    assert chosen[0] == chosen[1]
    assert scores[0] != scores[1]


def test_curves_reach_lines_and_tables(encoder: str, make: Callable[..., LabelledWindows], tmp_path: Path) -> None:
    conf = wise(encoder, algorithms=["erm"], seeds=[0], wise={"alphas": [0, 0.5, 1]})
    domains = divide(make(), conf.scenario)
    folder = Folder(tmp_path, conf, data="d", models={m.name: "w" for m in conf.models})
    work(domains, conf, plan(conf, domains, folder), folder)
    results = measure(collect(folder, runs(conf, list(domains.names))), conf, {})
    line = next(r for r in results if r.model == "erm on wise" and r.kind == "ood")
    json.dumps(line.details)
    files = [json.loads(p.read_text()) for p in (tmp_path / "runs").iterdir()]
    curves = [f["by_alpha"] for f in files if f["model"] == "wise"]
    np.testing.assert_allclose(line.details["by_alpha"], np.mean(curves, axis=0), atol=1e-6)
    assert {a for alphas in line.details["alpha"].values() for a in alphas} <= {0.0, 0.5, 1.0}
    shown = [t for t in metric_tables(results, "accuracy") if "by alpha" in t.caption]
    assert [len(t.rows) for t in shown] == [1, 1]  # source and oracle
    assert [*shown[0].columns] == ["model", "0", "0.5", "1", "chosen (mean)"]


def test_the_encoder_may_learn_more_slowly(encoder: str, make: Callable[..., LabelledWindows]) -> None:
    moved = []
    for factor in (1.0, 1e-3):
        conf = wise(encoder, algorithms=["erm"], all={"encoder_factor": factor})
        task = Task(divide(make(), conf.scenario), conf)
        network = task.network(conf.models[2], np.arange(50), seed=0)
        before = [p.detach().clone() for p in network.encoder.parameters()]
        adam = AdamSettings(lr=0.01, encoder_factor=factor)
        optimizer = adam.build(network.parameters(), encoder=network.encoder.parameters())
        network(task.batch(np.arange(8), network.encoder.spec).imu).square().sum().backward()
        optimizer.step()
        after = [p.detach() for p in network.encoder.parameters()]
        moved.append(max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)))
    assert moved[0] / moved[1] == pytest.approx(1000, rel=0.01)


def test_wise_needs_an_encoder() -> None:
    with pytest.raises(ValueError, match="stays near pretrained weights"):
        config(models=[{"name": "cnn", "backbone": CNN, "train": "wise"}])


def test_the_file_of_a_run_depends_on_all_settings_of_its_model(tmp_path: Path) -> None:
    conf = config(models=[{"name": "cnn", "backbone": CNN}, {"name": "mine", "encoder": "anywhere", "train": "head"}])
    folder = Folder(tmp_path, conf, data="d", models={"mine": "w"})
    run = Run(model="cnn", algorithm="erm", setting=(), target="a", held=None, seed=0)
    mine = Run(**{**vars(run), "model": "mine"})
    assert folder.file(run).name.split("-")[0] == run.key
    for changes in ({"encoder_factor": 0.5}, {"alphas": [0, 1]}, {"lr": 0.1}):
        other = config(models=[{"name": "cnn", "backbone": CNN, **changes}])
        assert Folder(tmp_path, other, data="d", models={}).file(run) != folder.file(run), changes
    moved = config(models=[{"name": "mine", "encoder": "elsewhere", "train": "head"}])
    assert Folder(tmp_path, moved, data="d", models={"mine": "w"}).file(mine) == folder.file(mine), "the same weights"
    assert Folder(tmp_path, moved, data="d", models={"mine": "v"}).file(mine) != folder.file(mine)
    with pytest.raises(ConfigError, match="another training"):
        Folder(tmp_path, config(training=SHORT), data="d", models={})


def test_runs_of_another_format_are_refused(tmp_path: Path) -> None:
    Folder(tmp_path, config(), data="d", models={})
    facts = json.loads((tmp_path / "benchmark.json").read_text())
    del facts["format"]
    (tmp_path / "benchmark.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="another format"):
        Folder(tmp_path, config(), data="d", models={})


def test_a_frozen_encoder_is_asked_once_about_every_window(
    encoder: str, make: Callable[..., LabelledWindows], monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = wise(encoder, algorithms=["erm", "coral", "mixup"])
    task = Task(divide(make(), conf.scenario), conf)
    asked: list[int] = []
    forward = EncoderBundle.forward

    def counting(self: EncoderBundle, imu: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        asked.append(len(imu))
        return forward(self, imu, mask)

    monkeypatch.setattr(EncoderBundle, "forward", counting)
    for algorithm in ("erm", "coral"):
        train(task, of(conf, task, "head", algorithm))
    assert sum(asked) == len(task.domains.windows)
    del asked[:]
    train(task, of(conf, task, "all"))
    tuning = sum(asked)
    del asked[:]
    both = train(task, of(conf, task, "wise"))
    learnt = SHORT["steps"] * SHORT["batch"] * 2  # of two source domains
    once = (tuning - learnt) // (SHORT["steps"] // SHORT["evaluate_every"])  # validation and target
    assert sum(asked) == tuning + len(both["by_alpha"]) * once, "the probe asks for nothing"
    train(task, of(conf, task, "head", "mixup"))  # windows themselves are mixed
    assert sum(asked) > 2 * len(task.domains.windows)
