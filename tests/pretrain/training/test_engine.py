"""The loop in this process: what an update is, what the log says, what stops it, what a continued run ends in."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.errors import CheckpointError, ConfigError, GuardStop
from imu_video.types import PairBatch
from pretrain.checkpoints.store import Checkpoint, CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.observe.trackers import read_log
from pretrain.prepare.prepare import Prepared
from pretrain.run import run
from pretrain.training import engine as engine_module
from pretrain.training.augment import Augmenter
from pretrain.training.engine import Engine
from pretrain.training.guards import check_rows

Maker = Callable[..., PretrainConfig]
Ready = Callable[..., Prepared]


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest")).model


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_learns_and_leaves_what_it_promises(make_config: Maker, tmp_path: Path) -> None:
    config = make_config(optim={"steps": 60, "lr": 5e-3}, run={"validate_every": 20, "checkpoint_every": 25, "keep": 1})
    outcome = run(config, folder=tmp_path / "run")
    log = read_log(tmp_path / "run" / "log.jsonl")
    train = [line for line in log if line["kind"] == "train"]
    scores = [line for line in log if line["kind"] == "validate"]
    assert [line["step"] for line in train] == list(range(1, 61))
    assert [line["step"] for line in scores] == [0, 20, 40, 60]
    assert train[-1]["loss"] < 0.8 * train[0]["loss"]
    assert max(s["mrr"] for s in scores[1:]) > 2 * scores[0]["mrr"]
    assert {"loss", "terms/info_nce", "lr", "grad_norm", "windows_per_s", "data_wait_s"} <= train[0].keys()
    assert scores[0]["gallery"] == 60  # 64 windows, every 19th without teacher features
    assert outcome.state.best is not None
    assert outcome.state.best.value == max(s["mrr"] for s in scores[1:])
    store = CheckpointStore(outcome.folder / "checkpoints")
    assert store.names()[-1] == "step-00000060"
    assert store.resolve("best").name == f"step-{outcome.state.best.step:08d}"
    assert len(store.names()) <= 2
    again = run(config, folder=tmp_path / "run")  # a finished run has nothing left to do
    assert (again.state, len(read_log(tmp_path / "run" / "log.jsonl"))) == (outcome.state, len(log))


def test_the_teacher_is_in_no_checkpoint(make_config: Maker, tmp_path: Path) -> None:
    run(make_config(optim={"steps": 2}), folder=tmp_path / "run")
    names = final_weights(tmp_path / "run")
    assert {n.split(".")[1] for n in names if n.startswith("model.")} == {
        "student",
        "imu_projector",
        "sides",
    }
    assert any(n.startswith("loss.") for n in names)


def test_an_interrupted_run_ends_in_the_same_bits(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(optim={"steps": 12, "accumulate": 2})
    run(config, folder=tmp_path / "whole")
    asked = iter([False] * 6 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        first = run(config, folder=tmp_path / "parts")
    assert first.state.step == 7
    torch.manual_seed(999)  # the state of global generators must not matter
    run(config, folder=tmp_path / "parts")
    assert same_bits(final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts"))
    logs = [
        [{k: v for k, v in line.items() if k not in ("windows_per_s", "data_wait_s")} for line in read_log(f)]
        for f in (tmp_path / "whole" / "log.jsonl", tmp_path / "parts" / "log.jsonl")
    ]
    assert logs[0] == logs[1]


def test_a_control_resumes_in_the_same_bits_and_only_as_a_control(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(data={"control": "permuted_pairs"}, optim={"steps": 6})
    run(config, folder=tmp_path / "whole")
    asked = iter([False] * 2 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        run(config, folder=tmp_path / "parts")
    with pytest.raises(ConfigError, match=r"data\.control: permuted_pairs -> \(absent\)"):
        run(make_config(optim={"steps": 6}), folder=tmp_path / "parts")
    run(config, folder=tmp_path / "parts")
    assert same_bits(final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts"))
    run(make_config(optim={"steps": 6}), folder=tmp_path / "true")
    assert not same_bits(final_weights(tmp_path / "whole"), final_weights(tmp_path / "true"))


def test_seeds_matter(make_config: Maker, tmp_path: Path) -> None:
    for seed in (0, 1):
        run(make_config(seed=seed, optim={"steps": 2}), folder=tmp_path / str(seed))
    assert not same_bits(final_weights(tmp_path / "0"), final_weights(tmp_path / "1"))


def test_accumulation_is_the_mean_gradient_of_its_batches(prepared: Ready, make_config: Maker) -> None:
    """One update of two batches against the two gradients taken one by one."""
    config = make_config(optim={"accumulate": 2, "clip_norm": None}, projector={"dropout": 0.0}, augment=[])
    ready = prepared(config)
    parts, engine = ready.parts, engine_of(ready)
    expected = {n: torch.zeros_like(p) for n, p in parts.task.named_parameters()}
    losses = []
    parts.task.train()
    for number in range(2):
        output, _ = parts.task(parts.feed.get(number))
        losses.append(output.total.item())
        for (name, _), grad in zip(
            parts.task.named_parameters(),
            torch.autograd.grad(output.total, list(parts.task.parameters()), allow_unused=True),
            strict=True,
        ):
            expected[name] += (grad if grad is not None else 0) / 2
    seen: dict[str, torch.Tensor] = {}

    def step() -> None:
        seen.update({n: p.grad.clone() for n, p in parts.task.named_parameters() if p.grad is not None})

    parts.optimizer.step = step  # type: ignore[method-assign,assignment]
    observed: list[Any] = []
    parts.task.observe = observed.append  # type: ignore[method-assign]
    numbers, _ = engine.update(0)
    assert numbers["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    for name, grad in seen.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-6)
    assert len(observed) == 1
    assert [len(pair.imu) for pair in observed[0]] == [32, 32]
    assert numbers["grad_norm"] == pytest.approx(
        torch.cat([g.flatten() for g in expected.values()]).norm().item(), rel=1e-4
    )


def engine_of(ready: Prepared) -> Engine:
    """The engine of a prepared run, without a run folder."""
    return Engine(
        parts=ready.parts,
        accelerator=ready.accelerator,
        store=CheckpointStore(Path("unused")),
        reporter=Reporter(),
        stop=StopSignal(),
        lineage={},
    )


def test_clipping_bounds_the_gradient_and_the_log_shows_it_before(prepared: Ready, make_config: Maker) -> None:
    ready = prepared(make_config(optim={"clip_norm": 1e-3}))
    parts, engine = ready.parts, engine_of(ready)
    norms: list[float] = []

    def step() -> None:
        norms.append(torch.cat([p.grad.flatten() for p in parts.task.parameters() if p.grad is not None]).norm().item())

    parts.optimizer.step = step
    numbers, _ = engine.update(0)
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert numbers["grad_norm"] > 1e-2


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(run={"checkpoint_every": 100, "validate_every": 100})
    real = Augmenter.training

    def poisoned(self: Augmenter, batch: PairBatch, number: int) -> PairBatch:
        batch = real(self, batch, number)
        return batch.with_imu(batch.imu * float("inf"), batch.mask) if number == 5 else batch

    monkeypatch.setattr(Augmenter, "training", poisoned)
    with pytest.raises(GuardStop, match="step 6: loss nan") as caught:
        run(config, folder=tmp_path / "run")
    assert caught.value.exit_code == 4
    weights = final_weights(tmp_path / "run")
    assert CheckpointStore(tmp_path / "run" / "checkpoints").pointer("latest") == "step-00000005"
    assert all(bool(w.isfinite().all()) for w in weights.values())


def test_a_loader_that_is_split_twice_is_noticed(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config()).parts
    batch = parts.feed.get(0)
    check_rows(batch, parts.config, torch.device("cpu"))
    half = PairBatch(
        imu=batch.imu[:16],
        mask=batch.mask[:16],
        teacher=batch.teacher[:16],
        meta=replace(batch.meta, **{k: v[:16] for k, v in vars(batch.meta).items()}),
    )
    with pytest.raises(GuardStop, match="16 rows with 16 different windows, expected 32"):
        check_rows(half, parts.config, torch.device("cpu"))
    twice = batch.meta.sample.clone()
    twice[0] = twice[1]
    with pytest.raises(GuardStop, match="32 rows with 31 different windows"):
        check_rows(replace(batch, meta=replace(batch.meta, sample=twice)), parts.config, torch.device("cpu"))


def test_accelerate_never_sees_the_loader(prepared: Ready, make_config: Maker) -> None:
    engine = engine_of(prepared(make_config()))
    assert engine.accelerator._dataloaders == []
    source = Path(engine_module.__file__).read_text()
    assert ".prepare(" not in source
    assert len(source.splitlines()) <= 200


def test_epochs_count_full_batches(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config(optim={"steps": None, "epochs": 3})).parts
    assert parts.steps == 3 * (151 // 32)  # 160 windows, 9 of them without teacher features


def test_dropout_follows_the_step_not_the_history(prepared: Ready, make_config: Maker) -> None:
    """The same update twice from the same weights gives the same loss, whatever was drawn in between."""
    ready = prepared(make_config(projector={"dropout": 0.5}))
    parts, engine = ready.parts, engine_of(ready)
    weights = {k: v.clone() for k, v in parts.task.state_dict().items()}
    first, _ = engine.update(3)
    parts.task.load_state_dict(weights)
    torch.rand(17)
    second, _ = engine.update(3)
    parts.task.load_state_dict(weights)
    other, _ = engine.update(4)
    assert first["loss"] == second["loss"] != other["loss"]


def test_a_changed_config_is_refused_key_by_key(make_config: Maker, tmp_path: Path) -> None:
    run(make_config(optim={"steps": 2}), folder=tmp_path / "run")
    before = sorted(p.name for p in (tmp_path / "run").rglob("*"))
    with pytest.raises(ConfigError) as caught:
        run(make_config(optim={"steps": 4, "lr": 0.01}, seed=3), folder=tmp_path / "run")
    text = str(caught.value)
    assert text.count(" -> ") == 4
    assert "optim.lr: 0.003 -> 0.01" in text
    assert "optim.steps: 2 -> 4" in text
    assert "seed: 0 -> 3" in text
    assert sorted(p.name for p in (tmp_path / "run").rglob("*")) == before
    run(make_config(optim={"steps": 2}, run={"log_every": 5}), folder=tmp_path / "run")  # counts of logging may change


def test_resume_never_and_paths(make_config: Maker, tmp_path: Path) -> None:
    config = make_config(optim={"steps": 6}, run={"keep": 5})
    run(config, folder=tmp_path / "run", resume="never")
    with pytest.raises(ConfigError, match="already contains a run"):
        run(config, folder=tmp_path / "run", resume="never")
    earlier = tmp_path / "run" / "checkpoints" / "step-00000004"
    shutil.copytree(earlier, tmp_path / "step-00000004")
    with pytest.raises(ConfigError, match="checkpoints of its own, up to step-00000006"):
        run(config, folder=tmp_path / "run", resume=str(tmp_path / "step-00000004"))
    run(config, folder=tmp_path / "branch", resume=str(earlier))
    assert same_bits(final_weights(tmp_path / "run"), final_weights(tmp_path / "branch"))
    assert read_log(tmp_path / "branch" / "log.jsonl")[0]["step"] == 5
    with pytest.raises(CheckpointError, match="no such checkpoint folder"):
        run(config, folder=tmp_path / "new", resume=str(tmp_path / "nowhere"))
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".environment.json.tmp-0a1b2c3d").write_text("{")  # killed before config.yaml was written
    assert run(config, folder=tmp_path / "early").state.step == 6
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="not a run folder"):
        run(config, folder=tmp_path / "full")


def test_a_damaged_checkpoint_is_said_not_skipped(make_config: Maker, tmp_path: Path) -> None:
    config = make_config(optim={"steps": 6}, run={"keep": 5})
    run(config, folder=tmp_path / "run")
    victim = tmp_path / "run" / "checkpoints" / "step-00000006" / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-3])
    whole = (tmp_path / "run" / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"step-00000006: model\.safetensors is damaged") as caught:
        run(config, folder=tmp_path / "run")
    complete = tmp_path / "run" / "checkpoints" / "step-00000005"
    assert f"--resume {complete}" in str(caught.value)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == whole
    run(config, folder=tmp_path / "run", resume=str(complete))  # the hint
    assert (tmp_path / "run" / "checkpoints" / "set-aside-1" / "step-00000006").is_dir()
    run(config, folder=tmp_path / "run")


def test_a_branch_checks_the_config_of_its_origin(make_config: Maker, tmp_path: Path) -> None:
    run(make_config(optim={"steps": 2}), folder=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        run(make_config(optim={"steps": 2, "lr": 0.5}), folder=tmp_path / "b", resume=str(tmp_path / "run"))
    assert not (tmp_path / "b").exists()


def test_two_runs_do_not_write_to_one_folder(make_config: Maker, tmp_path: Path) -> None:
    from pretrain.runs.folder import RunFolder

    with RunFolder(tmp_path / "run").lock(), pytest.raises(ConfigError, match="another process is writing"):
        run(make_config(), folder=tmp_path / "run")


def test_no_room_on_the_disk(make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with pytest.raises(GuardStop, match="0 MiB free"):
        run(make_config(), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_checkpoints_carry_their_lineage(make_config: Maker, tmp_path: Path) -> None:
    run(make_config(optim={"steps": 1}), folder=tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    checkpoint: Checkpoint = store.read(store.resolve("latest"))
    assert checkpoint.state["data"]["licence"] == "CC0-1.0"
    assert not set(checkpoint.state["data"]["subjects"]["train"]) & set(checkpoint.state["data"]["subjects"]["val"])
    assert checkpoint.state["teacher"]["fingerprint"].startswith("feed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = make_config(run={"checkpoint_every": 100, "validate_every": 100})
    real, before = Augmenter.training, signal.getsignal(number)

    def told(self: Augmenter, batch: PairBatch, batch_number: int) -> PairBatch:
        if batch_number == 4:
            os.kill(os.getpid(), number)
        return real(self, batch, batch_number)

    monkeypatch.setattr(Augmenter, "training", told)
    outcome = run(config, folder=tmp_path / "run")
    assert (outcome.stopped, outcome.state.step) == (number.name, 5)
    assert CheckpointStore(tmp_path / "run" / "checkpoints").pointer("latest") == "step-00000005"
    assert signal.getsignal(number) == before
