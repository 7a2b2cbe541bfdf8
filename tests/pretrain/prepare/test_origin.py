"""A finished run that is continued: what it takes over, its learning rate, what may change, what stays untouched."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from imu_video.bundle.encoder import load_encoder
from imu_video.config import load_config
from imu_video.errors import CheckpointError, ConfigError
from imu_video.shards.schema import Index
from pretrain.checkpoints.store import Checkpoint, CheckpointStore
from pretrain.cli import app
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.trackers import read_log
from pretrain.prepare.origin import continued
from pretrain.run import run

Maker = Callable[..., PretrainConfig]
CONSTANT = {"steps": 4, "lr": 3e-3, "min_lr": 0.0, "warmup_fraction": 0.0, "decay": "constant"}
QUEUE: dict[str, Any] = {
    "loss": [{"name": "queue_distill", "size": 64}],
    "projector": {"dim": 12, "dropout": 0.1, "teacher": "none"},
}


def last(folder: Path) -> Checkpoint:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest"))


def files_of(folder: Path) -> dict[str, str]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def same_state(a: Checkpoint, b: Checkpoint) -> bool:
    pairs = ((a.model, b.model), (a.optimizer, b.optimizer))
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in pairs)


@pytest.fixture(scope="module")
def finished(raw: Callable[..., dict[str, Any]], data: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps; read only."""
    folder = tmp_path_factory.mktemp("finished") / "first"
    run(PretrainConfig.model_validate(raw(data.root, optim=CONSTANT, **QUEUE)), folder=folder)
    return folder


def test_with_a_constant_rate_it_is_the_longer_run(make_config: Maker, finished: Path, tmp_path: Path) -> None:
    """Model, optimiser, queue and data cursor are taken over: the bits are those of one long run."""
    before = files_of(finished)
    outcome = run(continued(finished, ["optim.steps=9", "name=longer"]), folder=tmp_path / "second")
    run(make_config(optim={**CONSTANT, "steps": 9}, **QUEUE), folder=tmp_path / "whole")
    assert same_state(last(outcome.folder), last(tmp_path / "whole"))
    assert files_of(finished) == before, "the finished run is only read"
    assert [line["step"] for line in read_log(outcome.folder / "log.jsonl") if line["kind"] == "train"] == [
        *range(5, 10)
    ]
    assert CheckpointStore(outcome.folder / "checkpoints").pointer("best") is not None


def test_an_interrupted_continuation_ends_in_the_same_bits(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shutil.copytree(finished, tmp_path / "first")
    config = continued(first, ["optim.steps=10", "optim.decay=cosine"])
    run(config, folder=tmp_path / "whole")
    asked = iter([False] * 3 + [True])
    monkeypatch.setattr("pretrain.observe.reporter.StopSignal.requested", lambda self: next(asked, False))
    stopped = run(config, folder=tmp_path / "stopped")
    assert stopped.state.step == 8
    monkeypatch.undo()
    shutil.rmtree(first)  # its own checkpoints suffice from now on
    assert run(config, folder=tmp_path / "stopped").state.step == 10
    assert same_state(last(tmp_path / "stopped"), last(tmp_path / "whole"))
    chain = last(tmp_path / "stopped").state["continues"]
    assert (chain["step"], chain["optim"]["optim.decay"]) == (4, "constant")


def test_the_learning_rate_is_a_new_schedule_over_the_added_steps(make_config: Maker, tmp_path: Path) -> None:
    """After a finished cosine with warm-up: no warm-up, from the given rate to min_lr at the last step."""
    run(make_config(optim={"steps": 4, "lr": 3e-3, "warmup_fraction": 0.5}), folder=tmp_path / "first")
    config = continued(tmp_path / "first", ["optim.steps=9", "optim.lr=1e-3", "optim.min_lr=1e-5"])
    run(config, folder=tmp_path / "second")
    rates = [line["lr"] for line in read_log(tmp_path / "second" / "log.jsonl") if line["kind"] == "train"]
    expected = [1e-5 + (1e-3 - 1e-5) * share for share in (1.0, 0.853553, 0.5, 0.146447, 0.0)]
    assert rates == pytest.approx(expected, rel=1e-4)


def test_only_length_and_learning_rate_may_change(finished: Path, tmp_path: Path) -> None:
    for override, key in (("seed=1", "seed: 0 -> 1"), ("optim.weight_decay=0.1", "optim.weight_decay: 0.05 -> 0.1")):
        with pytest.raises(ConfigError, match=f"may change the length and the learning rate only(.|\n)*{key}"):
            run(continued(finished, ["optim.steps=9", override]), folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_continuation_needs_more_steps_and_a_finished_run(
    make_config: Maker, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"has done 4 steps, and the continuation ends at step 4") as caught:
        run(continued(finished, []), folder=tmp_path / "x")
    assert "optim.steps=8" in str(caught.value.hint)
    asked = iter([False, True])
    monkeypatch.setattr("pretrain.observe.reporter.StopSignal.requested", lambda self: next(asked, False))
    run(make_config(optim=CONSTANT), folder=tmp_path / "half")
    with pytest.raises(ConfigError, match=r"is not finished: 2 of 4 steps are done") as caught:
        run(continued(tmp_path / "half", ["optim.steps=9"]), folder=tmp_path / "x")
    assert "imu-pretrain launch" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match="no run with a checkpoint"):
        continued(tmp_path / "nothing", [])
    assert not (tmp_path / "x").exists()


def test_another_state_of_the_finished_run_is_refused(finished: Path, tmp_path: Path) -> None:
    config = continued(finished, ["optim.steps=9"])
    other = config.model_copy(update={"continues": config.continues.model_copy(update={"checkpoint": "0" * 16})})  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match="not the one of step 4 that this run continues"):
        run(other, folder=tmp_path / "x")


def test_the_command_and_a_continuation_of_a_continuation(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Any:
        return CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)

    assert "done: 6 steps" in call("continue", finished, "optim.steps=6", "name=longer").stdout
    [second] = tmp_path.glob("runs/longer-*")
    assert "done: 6 steps" in call("continue", finished, "optim.steps=6", "name=longer").stdout, "resumed, not repeated"
    assert "done: 6 steps" in call("launch", second / "config.yaml", "--run", second).stdout
    assert "done: 7 steps" in call("continue", second, "optim.steps=7", "--run", "third").stdout
    lineage = load_encoder(export(tmp_path / "third", tmp_path / "out", checkpoint="latest").folder).lineage
    assert lineage["continues"]["step"] == 6
    assert lineage["continues"]["continues"]["step"] == 4
    assert json.loads((tmp_path / "third" / "environment.json").read_text())["identity"]["continues.step"] == 6


def test_a_moved_finished_run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the command that works: with a checkpoint of its own a continuation needs no finished run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "first")
    run(continued(Path("first"), ["optim.steps=5"]), folder=Path("runs/second"))
    run(continued(Path("first"), ["optim.steps=5"]), folder=Path("third"))
    Path("first").rename("moved")
    for folder, made in ((None, "runs/second"), (Path("third"), "third")):
        with pytest.raises(CheckpointError, match="first: no run with a checkpoint") as caught:
            continued(Path("first"), ["optim.steps=5"], folder=folder)
        assert str(caught.value.hint).endswith(f"own: imu-pretrain launch {made}/config.yaml --run {made}")
        config = load_config(Path(made) / "config.yaml", PretrainConfig)
        assert run(config, folder=Path(made)).state.step == 5
    shutil.rmtree("third/checkpoints")
    with pytest.raises(CheckpointError) as caught:
        continued(Path("first"), ["optim.steps=5"], folder=Path("third"))
    assert str(caught.value.hint).endswith("launch third/config.yaml --run third continues.run=FOLDER")
    with pytest.raises(CheckpointError) as caught:
        run(load_config(Path("third/config.yaml"), PretrainConfig), folder=Path("third"))
    assert "continues.run=FOLDER" in str(caught.value.hint)
    config = load_config(Path("third/config.yaml"), PretrainConfig, ["continues.run=moved"])
    assert run(config, folder=Path("third")).state.step == 5
    with pytest.raises(CheckpointError) as caught:
        continued(Path("elsewhere"), ["optim.steps=5"])
    assert "its new place" in str(caught.value.hint)
