"""Stop signals at random moments: every run, build and embedding ends by itself and resumes to the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from imu_video.runtime.files import is_leftover
from imu_video.runtime.signals import STOP
from tests.faults.conftest import Score
from tests.faults.forks import ROOT, Commands, Result, children
from tests.pretrain.conftest import make_data, raw_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and the children of a process by /proc"),
]
SINGLE, GROUP, BUILD, EMBED = 30, 10, 10, 10
"""Numbers of moments per signal."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    running = Commands(tmp_path_factory.mktemp("commands"))
    yield running
    running.close()


def bytes_of(folder: Path, *names: str) -> dict[str, str]:
    """Hash of every file below a folder whose name is one of ``names``; of every file without names."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (not names or path.name in names)
    }


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_leftover(path.name)]


class Job:
    """A command that is interrupted and repeated.

    Args:
        commands: runs it.
        arguments: of the command, without the folder that it writes.
        out: that folder, made anew for every moment.
        content: what must be equal to that of an uninterrupted command.
    """

    def __init__(
        self, commands: Commands, arguments: list[object], out: Path, content: Callable[[], dict[str, str]]
    ) -> None:
        self.commands, self.arguments, self.out, self.content = commands, arguments, out, content
        done = commands.run(*arguments)  # type: ignore[arg-type]
        assert done.code == 0, done.err
        self.wanted = content()
        assert self.wanted
        self.clear()
        begun = time.monotonic()
        assert commands.run(*arguments).code == 0  # type: ignore[arg-type]
        self.seconds = time.monotonic() - begun

    def clear(self) -> None:
        """Remove what the command wrote."""
        for path in (self.out, self.out.with_name(f"{self.out.name}.partial")):
            shutil.rmtree(path, ignore_errors=True)

    def fault(self, number: signal.Signals, seed: int) -> str:
        """Interrupt the command once or twice and repeat it; what was wrong, in words, or an empty text."""
        rng = random.Random(seed)
        self.clear()
        pid = self.commands.begin(*self.arguments)  # type: ignore[arg-type]
        time.sleep(rng.uniform(0, self.seconds))
        sent = {number}
        target = rng.choice([pid, *children(pid)])
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, number)
            if rng.random() < 0.5:
                time.sleep(rng.choice([0.0, 0.001, 0.02, 0.2]))
                again = rng.choice([number, *(one for one in STOP if one != signal.SIGINT)])
                sent.add(again)
                os.kill(rng.choice([pid, target]), again)
        stopped = self.commands.end()
        if fault := self.ending(stopped, sent):
            return f"{fault}: {stopped.err[-300:]}"
        again_done = self.commands.run(*self.arguments)  # type: ignore[arg-type]
        if again_done.code != 0:
            return f"code {again_done.code} of the repeated command: {again_done.err[-300:]}"
        if self.content() != self.wanted:
            return "other bytes than without a signal"
        return f"left {left}" if (left := leftovers(self.out.parent)) else ""

    @staticmethod
    def ending(result: Result, sent: set[signal.Signals]) -> str:
        """What is wrong with how the interrupted command ended."""
        if result.traceback:
            return "traceback"
        # By the signal itself: before the first line of the command, and after its last.
        allowed = {0} | {128 + one for one in sent} | {-one for one in sent}
        return "" if result.code in allowed else f"code {result.code}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("signals") / "data", {"train": 160, "val": 64}).root


def training(commands: Commands, data: Path, folder: Path, *, nproc: int) -> Job:
    """A run of some seconds, which also writes the columns of its data."""
    config = folder / "config.yaml"
    sections = {"optim": {"steps": 24}, "run": {"validate_every": 12, "checkpoint_every": 5}}
    config.write_text(yaml.safe_dump(raw_config(data, **sections)))
    run = folder / "run"
    arguments = ["imu-pretrain", "launch", config, "--run", run, "--nproc", nproc]

    def content() -> dict[str, str]:
        last = run / "checkpoints" / "step-00000024"
        return bytes_of(last, "model.safetensors", "optimizer.safetensors")

    return Job(commands, arguments, run, content)


@pytest.mark.parametrize("number", STOP)
@pytest.mark.parametrize(("nproc", "moments"), [(1, SINGLE), (2, GROUP)])
def test_a_run_is_stopped_and_resumed_to_the_same_bits(
    number: signal.Signals, nproc: int, moments: int, commands: Commands, data: Path, tmp_path: Path, score: Score
) -> None:
    job = training(commands, data, tmp_path, nproc=nproc)
    with score(f"{number.name} during a run of {nproc} process(es), any of them: resumed to the same bits") as case:
        for seed in range(moments):
            if seed % 4 == 0:
                shutil.rmtree(data / "columns", ignore_errors=True)
            fault = job.fault(number, seed)
            case.add(not fault and not leftovers(data), f"seed {seed}: {fault or leftovers(data)}")


BUILDING = {
    "dataset": {"name": "tiny_people"},
    "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10},
    "splits": {"subjects": {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}},
    "shard_samples": 8,
}
DATASET = ROOT / "tests" / "shards" / "tiny_dataset.py"


def building(commands: Commands, folder: Path) -> Job:
    config, out = folder / "build.yaml", folder / "data"
    config.write_text(yaml.safe_dump(BUILDING))
    return Job(commands, ["imu-video", "build", config, out, "--plugin", DATASET], out, lambda: bytes_of(out))


@pytest.mark.parametrize("number", STOP)
def test_a_build_is_stopped_and_resumed(
    number: signal.Signals, commands: Commands, tmp_path: Path, score: Score
) -> None:
    job = building(commands, tmp_path)
    with score(f"{number.name} during a build: resumed to the same bytes") as case:
        for seed in range(BUILD):
            fault = job.fault(number, seed)
            case.add(not fault, f"seed {seed}: {fault}")


@pytest.mark.parametrize("number", STOP)
def test_an_embedding_is_stopped_and_resumed(
    number: signal.Signals, commands: Commands, tmp_path: Path, score: Score
) -> None:
    built = building(commands, tmp_path)
    teachers = built.out / "teachers"
    plugin = ROOT / "examples" / "own_teacher_plugin.py"
    job = Job(
        commands,
        ["imu-video", "embed", built.out, "motion_energy", "--plugin", plugin, "--device", "cpu", "--batch-size", 1],
        teachers,
        lambda: bytes_of(teachers),
    )
    with score(f"{number.name} during an embedding: resumed to the same bytes") as case:
        for seed in range(EMBED):
            fault = job.fault(number, seed)
            case.add(not fault, f"seed {seed}: {fault}")
