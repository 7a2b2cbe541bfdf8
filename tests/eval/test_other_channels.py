"""Evaluation on arrays of 8 and 45 channels, end to end: few-shot, limited labels and domain shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.algorithms import algorithms
from eval.cli import app
from eval.data.source import open_labelled
from eval.protocol import Context
from eval.protocols.limited_labels.protocol import LimitedLabels
from eval.protocols.ood.benchmark import benchmark
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.runs import Run
from eval.protocols.ood.scenario import divide
from eval.protocols.ood.train import Task, train
from eval.results.store import read_results
from eval.untrained import write_untrained
from imu_video.bundle.encoder import load_encoder
from imu_video.errors import ConfigError
from tests.eval.made_arrays import EIGHT, FORTY_FIVE, array_folder

CHANNELS = {8: EIGHT, 45: FORTY_FIVE}
BACKBONES = {
    "cnn": {"name": "harood_cnn", "kernel": 5, "norm": "batch"},
    "transformer": {"name": "harood_transformer", "width": 8, "layers": 1, "heads": 2, "ffn": 16},
}


@pytest.fixture(scope="module", params=[8, 45])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(f"arrays{request.param}")
    return array_folder(root, CHANNELS[request.param], subjects=4, windows=3)


@pytest.fixture(scope="module")
def encoder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "none"
    write_untrained(folder, out, encoder={"name": "harood_cnn", "kernel": 5})
    return out


def benchmark_config(**changes: object) -> OodConfig:
    return OodConfig.model_validate(
        {
            "scenario": {"name": "people", "axis": "subject", "groups": 2},
            "models": [{"name": name, "backbone": entry} for name, entry in BACKBONES.items()],
            "training": {"steps": 2, "evaluate_every": 2, "batch": 4},
            "seeds": [0],
            **changes,
        }
    )


def test_an_untrained_encoder_has_the_channels_of_the_data(folder: Path, encoder: Path) -> None:
    bundle, data = load_encoder(encoder), open_labelled(folder)
    assert (bundle.spec.channels, bundle.spec.units) == (data.windows().channels, data.windows().units)
    assert bundle.spec.rate_hz == 20
    origin = bundle.lineage["untrained"]["normalisation"]
    assert (origin["dataset"], origin["digest"]) == ("made", data.digest)


def test_few_shot_by_the_command(folder: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    words = ["fewshot", str(encoder), str(folder), "--shots", "1", "--episodes", "2", "--out", str(out)]
    words += ["probes=[prototype]", "references.supervised.episodes=1", "references.supervised.steps=2"]
    app([*words, "references.untrained_seeds=[0]", "metrics=[accuracy]"], standalone_mode=False)
    results, _ = read_results([out])
    values = {r.model: r.value for r in results if r.kind == "fewshot" and r.metric == "accuracy"}
    assert values.keys() == {"pretrained", "untrained", "handcrafted", "supervised"}
    assert values["handcrafted"] > 0.6, "each activity has a rhythm of its own"
    remarks = " ".join(results[0].details["remarks"])
    assert "times and recordings of the windows are unknown" in remarks
    assert "has random weights" in remarks


def test_limited_labels(folder: Path, encoder: Path, tmp_path: Path) -> None:
    def people(*names: str) -> str:
        return f"{{split: test, where: {{subject: [{', '.join(names)}]}}}}"

    protocol = LimitedLabels(
        encoder=encoder,
        data=folder,
        overrides=[
            f"pool={people('s00')}",
            f"choose={people('s01')}",
            f"test={people('s02', 's03')}",
            "labels=[2]",
            "seeds=[0]",
            "finetune={steps: 2}",
            "scratch={steps: 2}",
        ],
    )
    results = protocol.run(Context(out=tmp_path / "r.jsonl"))
    assert {r.probe for r in results if r.kind == "labels"} == {"probe", "fine-tune", "random", "scratch"}


def test_domain_shift_with_both_backbones(folder: Path, tmp_path: Path) -> None:
    config = benchmark_config(algorithms=["ddlearn"])
    results = benchmark([folder], config, folder=tmp_path / "runs")
    assert results is not None
    assert {r.model for r in results if r.kind == "ood"} == {f"ddlearn on {m}" for m in BACKBONES}
    assert all(r.details["remarks"] for r in results)


@pytest.mark.slow  # 32 trainings for each number of channels
@pytest.mark.parametrize("model", sorted(BACKBONES))
@pytest.mark.parametrize("name", sorted(algorithms.names()))
def test_every_algorithm_trains_on_any_channels(folder: Path, name: str, model: str) -> None:
    config = benchmark_config(algorithms=[name])
    domains = divide(open_labelled(folder).windows(), config.scenario)
    run = Run(model=model, algorithm=name, setting=(), target=domains.names[0], held=None, seed=0)
    result = train(Task(domains, config), run)
    assert np.isfinite(result["valid"])
    assert sum(np.sum(c) for c in result["people"].values()) == len(domains.windows) // 2


def test_an_encoder_of_other_channels_is_refused(folder: Path, tmp_path: Path) -> None:
    other = array_folder(tmp_path / "a", {"heart_rate": "bpm"}, subjects=4, windows=3)
    write_untrained(other, tmp_path / "e", encoder={"name": "harood_cnn", "kernel": 5})
    config = benchmark_config(models=[{"name": "mine", "encoder": str(tmp_path / "e"), "train": "head"}])
    with pytest.raises(ConfigError, match=r"model 'mine' expects channels \['heart_rate'\]"):
        benchmark([folder], config, folder=tmp_path / "runs")
    units = dict.fromkeys(open_labelled(folder).windows().channels, "counts")
    array_folder(tmp_path / "b", units, subjects=4, windows=3, gravity="unknown")
    write_untrained(tmp_path / "b", tmp_path / "f", encoder={"name": "harood_cnn", "kernel": 5})
    config = benchmark_config(models=[{"name": "mine", "encoder": str(tmp_path / "f"), "train": "head"}])
    with pytest.raises(ConfigError, match="the encoder was trained on"):
        benchmark([folder], config, folder=tmp_path / "runs2")
