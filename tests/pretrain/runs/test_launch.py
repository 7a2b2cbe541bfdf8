"""The supervisor of several processes, with tiny programs in place of training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imu_video.errors import ConfigError
from imu_video.runtime.signals import STOP
from pretrain.runs import launch
from pretrain.runs.launch import WorkerFailed, supervise


def program(text: str) -> list[str]:
    return [sys.executable, "-P", "-S", "-c", f"import os, sys, time, signal\nrank = int(os.environ['RANK'])\n{text}"]


@pytest.fixture(autouse=True)
def _outside_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def test_every_process_knows_its_place(tmp_path: Path) -> None:
    text = (
        f"open(f'{tmp_path}/{{rank}}', 'w').write(','.join(os.environ[k] for k in "
        "('WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS', 'IMU_VIDEO_LAUNCHER')))"
    )
    assert supervise(program(text), nproc=3, threads=5) == 0
    seen = [(tmp_path / str(rank)).read_text().split(",") for rank in range(3)]
    assert seen == [["3", str(rank), "3", "127.0.0.1", "5", str(os.getpid())] for rank in range(3)]


def test_a_failure_elsewhere_is_shown_with_its_code() -> None:
    with pytest.raises(
        WorkerFailed, match=r"process 1 of 2 ended with code 3; it wrote:\n    error: bad shard"
    ) as caught:
        supervise(program("if rank == 1: sys.exit(sys.stderr.write('error: bad shard') and 3)"), nproc=2)
    assert caught.value.exit_code == 3


def test_rank_0_speaks_for_itself(capfd: pytest.CaptureFixture[str]) -> None:
    text = "sys.stderr.write(f'error: {rank}\\n')\nprint('progress', rank)\nsys.exit(2 if rank == 0 else 1)"
    assert supervise(program(text), nproc=2) == 2
    out, err = capfd.readouterr()
    assert (out, err) == ("progress 0\n", "error: 0\n")


def test_a_process_that_lost_its_peer_is_not_blamed() -> None:
    """Rank 1 knows the reason (a code of ours); rank 0 dies earlier of losing it."""
    text = "if rank == 1:\n    time.sleep(0.3)\n    sys.exit(4)\nsys.exit(1)"
    with pytest.raises(WorkerFailed, match="process 1 of 2 ended with code 4"):
        supervise(program(text), nproc=2)


@pytest.mark.parametrize("group", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_process_of_a_group_leaves_before_the_interpreter_is_finalised(group: bool, tmp_path: Path) -> None:
    """A late thread of the transport would abort it there; what was said and the exit code are kept all the same."""
    text = "import atexit, sys; atexit.register(print, 'finalised'); from pretrain.cli import main\n"
    text += f"print('work'); sys.argv = ['imu-pretrain', 'status', {str(tmp_path / 'missing')!r}]; main()"
    environment = {**os.environ, **({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"} if group else {})}
    done = subprocess.run(
        [sys.executable, "-P", "-c", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert done.stdout.split() == (["work"] if group else ["work", "finalised"])


def test_survivors_of_a_crash_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_GRACE_S", 0.2)
    text = "if rank == 0:\n    os.kill(os.getpid(), signal.SIGSEGV)\ntime.sleep(600)"
    with pytest.raises(WorkerFailed, match="process 0 of 2 ended by SIGSEGV") as caught:
        supervise(program(text), nproc=2)
    assert caught.value.exit_code == 128 + signal.SIGSEGV


@pytest.mark.usefixtures("no_handlers")
@pytest.mark.parametrize("number", STOP)
def test_signals_are_passed_on_once(number: signal.Signals, tmp_path: Path) -> None:
    text = (
        f"got = []\nfor n in {[int(number) for number in STOP]}: signal.signal(n, lambda n, f: got.append(n))\n"
        f"open(f'{tmp_path}/{{rank}}', 'w').close()\n"
        f"while not got: time.sleep(0.01)\ntime.sleep(0.1)\nsys.exit(0 if got == [{int(number)}] else 9)"
    )

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    assert supervise(program(text), nproc=2) == 0
    thread.join()


@pytest.mark.skipif(os.name != "posix", reason="no signals")
@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), signal.SIGUSR1)", "sys.exit(128 + signal.SIGUSR1)"])
def test_processes_that_a_signal_ends_before_they_train_are_no_failure(
    ending: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "_GRACE_S", 0.2)
    assert supervise(program(f"if rank == 1:\n    {ending}\ntime.sleep(600)"), nproc=2) == 128 + signal.SIGUSR1
    assert capfd.readouterr().err == "stopped by SIGUSR1\n  the same command resumes the run\n"


@pytest.mark.skipif(os.name != "posix", reason="no signals")
def test_a_signal_reaches_processes_that_start_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def start(*words: object, **options: object) -> object:
        started = real(*words, **options)  # type: ignore[call-overload]
        if options["env"]["RANK"] == "0":  # type: ignore[index]
            os.kill(os.getpid(), signal.SIGUSR2)  # while only one process can be told
        return started

    monkeypatch.setattr(launch.subprocess, "Popen", start)
    assert supervise(program("time.sleep(600)"), nproc=3) == 128 + signal.SIGUSR2


@pytest.mark.skipif(os.name != "posix", reason="no signals")
def test_a_second_ctrl_c_ends_all_at_once(tmp_path: Path) -> None:
    text = f"signal.signal(signal.SIGINT, signal.SIG_IGN)\nopen(f'{tmp_path}/{{rank}}', 'w').write(str(os.getpid()))\n"

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        supervise(program(text + "time.sleep(600)"), nproc=2)
    thread.join()
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


def test_a_group_inside_a_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="WORLD_SIZE=4"):
        supervise(program(""), nproc=2)
