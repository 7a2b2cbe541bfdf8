"""Real processes: two ranks against one, killed and resumed, told to stop, and what a wrong command says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.registry import load_plugin
from imu_video.shards.schema import Index
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.observe.reporter import StopSignal
from pretrain.observe.trackers import read_log
from pretrain.prepare.origin import continued
from pretrain.run import run

Start = Callable[..., "subprocess.Popen[str]"]
Maker = Callable[..., PretrainConfig]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
PLUGIN = Path(__file__).parent / "kill_at.py"


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        log = folder / "log.jsonl"
        if log.exists() and any(line["step"] >= step for line in read_log(log)):
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"step {step} was never logged: {finish(process)}")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest")).model


def curve(folder: Path, number: str = "loss", kind: str = "train") -> list[float]:
    return [line[number] for line in read_log(folder / "log.jsonl") if line["kind"] == kind]


def test_two_processes_follow_the_curve_of_one_and_stop_when_told(
    make_config: Maker,
    config_file: Callable[..., Path],
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same global batch, same curve, for both losses; augmentation is on: its draws know nothing of ranks."""
    sections = {
        "loss": [{"name": "info_nce"}, {"name": "sigmoid_pair", "weight": 0.3}],
        "projector": {"dropout": 0.0},
        "optim": {"steps": 100_000, "lr": 3e-3, "warmup_fraction": 0.0},
        "run": {"validate_every": 10**6, "checkpoint_every": 10**6},
    }
    process = start("launch", config_file(**sections), "--run", tmp_path / "two", "--nproc", "2")
    asked = iter([False] * 20 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        run(make_config(**sections), folder=tmp_path / "one")
    wait_for_step(tmp_path / "two", 21, process)
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert code == 0, err
    assert "stopped by SIGTERM" in out

    for number in ("loss", "terms/info_nce", "terms/sigmoid_pair"):
        one, two = curve(tmp_path / "one", number), curve(tmp_path / "two", number)[:21]
        assert len(one) == len(two) == 21
        assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-4
        assert abs(one[0] - one[-1]) > 1e-2  # a curve that does not move would prove nothing
    scores = [curve(tmp_path / f, "mrr", "validate")[0] for f in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)

    store = CheckpointStore(tmp_path / "two" / "checkpoints")
    last = read_log(tmp_path / "two" / "log.jsonl")[-1]["step"]
    assert store.pointer("latest") == f"step-{last:08d}"
    assert store.read(store.resolve("latest")).state["processes"] == 2


@pytest.mark.slow  # six processes; the same gathers and sums as in the test above
def test_from_an_encoder_and_continued_in_two_processes(
    raw: Callable[..., dict[str, Any]], data: Index, config_file: Callable[..., Path], start: Start, tmp_path: Path
) -> None:
    """`init` under --nproc and a continuation under torchrun: the curves are those of one process."""
    spec = InputSpec(rate_hz=25.0, window_s=2.0, mean=(0.5,) * 6, std=(7.0,) * 6)
    grouped = {"name": "segment_cnn", "width": 8, "norm": "group"}
    encoder = EncoderBundle(spec=spec, encoder=grouped).save(tmp_path / "encoder", lineage={"run_id": "0" * 12})
    sections: dict[str, Any] = {
        "projector": {"dropout": 0.0},
        "optim": {"steps": 6, "warmup_fraction": 0.0},
        "init": str(encoder),
    }
    words = [config_file(**sections), "encoder=null"]
    first, second = tmp_path / "first", tmp_path / "second"
    code, out, err = finish(start("launch", *words, "--run", first, "--nproc", "2"))
    assert code == 0, err
    assert "done: 6 steps" in out
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = [*torchrun, "--", str(Path(sys.executable).with_name("imu-pretrain")), "continue", str(first)]
    process = subprocess.run(
        [*command, "optim.steps=9", "--run", str(second)], env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "9 steps, continuing after step 6" in process.stdout

    run(PretrainConfig.model_validate({**raw(data.root, **sections), "encoder": None}), folder=tmp_path / "one")
    run(continued(tmp_path / "one", ["optim.steps=9"]), folder=tmp_path / "longer")
    for one, two in (("one", "first"), ("longer", "second")):
        assert curve(tmp_path / one) == pytest.approx(curve(tmp_path / two), abs=1e-4)
    store = CheckpointStore(second / "checkpoints")
    state = store.read(store.resolve("latest")).state
    assert (state["processes"], state["continues"]["step"]) == (2, 6)
    assert state["identity"]["init (weights sha256)"] == load_encoder(encoder).weights_sha256


def test_killed_and_resumed_ends_in_the_same_bits(
    make_config: Maker,
    config_file: Callable[..., Path],
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGKILL in the middle of a step between two checkpoints; then to the end."""
    load_plugin(PLUGIN)
    sections = {
        "augment": [{"name": "rotate"}, {"name": "jitter"}, {"name": "kill_at"}],
        "optim": {"steps": 40},
        "run": {"validate_every": 15, "checkpoint_every": 7},
    }
    monkeypatch.setenv("KILL_AT", "27")
    process = start("launch", config_file(**sections), "--run", tmp_path / "killed", "--plugin", PLUGIN)
    monkeypatch.delenv("KILL_AT")
    run(make_config(**sections), folder=tmp_path / "whole")
    assert finish(process)[0] == -signal.SIGKILL
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")[:26]
    assert CheckpointStore(tmp_path / "killed" / "checkpoints").pointer("latest") == "step-00000021"
    run(make_config(**sections), folder=tmp_path / "killed")
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_every_mistake_is_one_message_and_a_code(
    config_file: Callable[..., Path], start: Start, tmp_path: Path
) -> None:
    config, folder = config_file(), tmp_path / "run"
    processes = {
        "unknown key 'optim.learning_rat'": start("launch", config, "optim.learning_rat=3", "--run", folder),
        "does not divide over 3 processes": start("launch", config, "--run", folder, "--nproc", "3"),
        "no such file": start("launch", config, "--plugin", tmp_path / "absent.py", "--run", folder),
    }
    for message, process in processes.items():
        code, _, err = finish(process)
        assert code == 2, err
        assert message in err
        assert err.count("error:") == 1
        assert "Traceback" not in err
    assert not folder.exists()
