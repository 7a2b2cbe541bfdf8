"""Commands of imu-eval that train networks, on a small data folder: benchmarks of shifts and limited labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from eval import cli
from eval.results.store import read_results
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError, ImuVideoError, LeakageError
from tests.e2e.conftest import ENCODER


@pytest.fixture(scope="module")
def folder(eval_folder: Path) -> Path:
    return eval_folder


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(w) for w in words])


OOD = """
scenario: {name: shifts, axis: placement, folds: 2}
models:
  - name: cnn
    backbone: {name: harood_cnn, kernel: 5, norm: batch}
algorithms: [erm, mixup]
training: {steps: 4, evaluate_every: 2, batch: 4}
seeds: [0]
selection: [source]
"""


def test_ood_benchmark(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "shifts.yaml"
    config.write_text(OOD)
    words = ["ood", folder / "data", "--config", config, "--folder", tmp_path / "runs", "--out", tmp_path / "r.jsonl"]
    dry = call(*words, "--dry")
    assert dry.exit_code == 0, dry.output
    assert "4 of 4 runs to do" in dry.output
    assert not (tmp_path / "runs").exists(), "a dry run must not tie the folder to its schedule"
    assert not (tmp_path / "r.jsonl").exists()
    zero = call(*words, "--part", "0/2")
    assert isinstance(zero.exception, ConfigError)
    assert "parts count from 1" in str(zero.exception)
    half = call(*words, "--part", "1/2")
    assert half.exit_code == 0, half.output
    assert len(list((tmp_path / "runs" / "runs").iterdir())) == 2
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "2 of 4 runs to do" in done.output
    assert "erm on cnn" in done.output
    results, _ = read_results([tmp_path / "r.jsonl"])
    assert {r.kind for r in results} == {"ood", "ood-difference"}
    assert "runs to do" not in call(*words).output  # all are kept


def test_ood_refuses_people_of_the_pretraining(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "shifts.yaml"
    config.write_text(OOD)
    words = ["ood", folder / "data", "--config", config, "--folder", tmp_path / "runs", "--out", tmp_path / "r.jsonl"]
    leak = call(*words, "--encoder", f"mine={folder / 'encoder'}")
    assert isinstance(leak.exception, LeakageError)
    assert "s0" in str(leak.exception)
    for wrong in (
        ["--encoder", "mine"],
        ["--part", "0/2"],
        ["--part", "3/2"],
        ["--train", "tail"],
        ["--set", "training.stesp=3"],
        ["training.stesp=3"],
        [tmp_path / "none"],
    ):
        assert isinstance(call(*words, *wrong).exception, ConfigError), wrong
    assert not (tmp_path / "runs").exists()


def test_ood_stays_between_probe_and_tuned_network(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "shifts.yaml"
    config.write_text(OOD)
    spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
    EncoderBundle(spec=spec, encoder=ENCODER).save(tmp_path / "strangers", lineage={})
    words = ["ood", folder / "data", "--config", config, "--folder", tmp_path / "runs", "--out", tmp_path / "r.jsonl"]
    done = call(*words, "--encoder", f"mine={tmp_path / 'strangers'}", "--train", "wise")
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "chosen (mean)" in done.output, "the curve by alpha"
    assert "calibration error" in done.output
    results, _ = read_results([tmp_path / "r.jsonl"])
    line = next(r for r in results if r.model == "erm on mine" and r.metric == "accuracy" and r.kind == "ood")
    assert [row[0] for row in line.details["by_alpha"]] == [k / 10 for k in range(11)]
    report = call("report", tmp_path / "r.jsonl", tmp_path / "report")
    assert report.exit_code == 0, report.output
    assert "by alpha" in (tmp_path / "report" / "report.html").read_text()


def test_labels_compares_encoders_on_the_same_labels_and_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "labels.yaml"
    config.write_text(
        "choose: null\nlabels: [1, all]\nseeds: [0]\nreferences: [random]\n"
        "methods: [{name: probe}, {name: random, start: random}]\n"
    )
    twin = tmp_path / "twin"
    shutil.copytree(folder / "encoder", twin)
    out = tmp_path / "results.jsonl"
    words = ["labels", folder / "encoder", folder / "data", "--config", config, "--against", twin, "--out", out]
    done = call(*words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "encoder: 4 cells, 0 finished, 0 trainings" in done.output
    assert "twin: 4 cells, 4 finished" in done.output, "the same weights are the same cells"
    results, _ = read_results([out])
    assert {r.kind for r in results} == {"labels", "labels-difference"}
    assert {r.reference for r in results} == {None, "none: random", "twin: probe"}
    assert all(r.value == 0 for r in results if r.reference == "twin: probe")
    assert {r.subjects for r in results} == {6}
    again = call(*words)
    assert "encoder: 4 cells, 4 finished" in again.output
    report = call("report", out, tmp_path / "report")
    assert report.exit_code == 0, report.output + repr(report.exception)
    assert "Limited labels" in (tmp_path / "report" / "report.md").read_text()


def test_labels_refuses_people_of_the_pretraining_and_a_missing_teacher(folder: Path, tmp_path: Path) -> None:
    swapped = ["pool.split=test", "test.split=train", "choose=null", "labels=[1]", "seeds=[0]"]
    done = call("labels", folder / "encoder", folder / "data", *swapped, "--out", tmp_path / "r.jsonl")
    assert isinstance(done.exception, LeakageError), done.output
    fused = 'methods=[{"name": "fused", "inputs": "fused"}]'
    done = call(
        "labels",
        folder / "encoder",
        folder / "data",
        fused,
        "teacher=elsewhere",
        "references=[]",
        "choose=null",
        "--out",
        tmp_path / "r.jsonl",
    )
    assert isinstance(done.exception, ImuVideoError), done.output
    assert done.exception.hint
    assert not (tmp_path / "r.jsonl").exists()
