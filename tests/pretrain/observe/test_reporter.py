"""Progress lines and stop signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from imu_video.runtime.logging import on_screen
from imu_video.runtime.signals import STOP
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.observe.trackers import JsonLines
from pretrain.runs.launch import PARENT

SCORES = {"loss": 2.0, "mrr": 0.5, "gallery": 60.0, "imu_to_video/R@1": 0.25, "video_to_imu/R@1": 0.125}
NUMBERS = {"loss": 1.5, "windows_per_s": 100.0}


def report(reporter: Reporter) -> None:
    reporter.start(20, 100)
    for step in range(21, 101):
        reporter.step(step, NUMBERS)
    reporter.numbers("validate", 100, SCORES)
    reporter.close()


def test_plain_lines_are_few(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    with on_screen():
        report(Reporter([JsonLines(tmp_path / "log.jsonl")], title="run abc", live=False))  # type: ignore[operator]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run abc: 100 steps, continuing after step 20"
    assert len(lines) == 1 + 16 + 1
    assert "validation: loss 2.0000  MRR 0.500  R@1 0.250 / 0.125 in 60 pairs" in lines[-1]


def test_a_terminal_gets_one_live_line(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    report(Reporter([JsonLines(tmp_path / "log.jsonl")], live=True))  # type: ignore[operator]
    out = capsys.readouterr().out
    assert "100/100" in out
    assert "validation" not in out


def test_a_script_that_shows_no_records_gets_no_live_line(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    report(Reporter([JsonLines(tmp_path / "log.jsonl")]))  # type: ignore[operator]
    assert capsys.readouterr().out == ""


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with on_screen():
        report(Reporter())
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("no_handlers")
@pytest.mark.parametrize("number", STOP)
def test_the_first_signal_is_noted_and_repetitions_change_nothing(number: signal.Signals) -> None:
    """Schedulers repeat them (SIGXCPU: every second), and a supervisor passes on what a rank received itself."""
    before = signal.getsignal(number)
    with StopSignal() as stop:
        os.kill(os.getpid(), number)
        assert (stop.requested(), stop.received) == (True, number.name)
        for again in STOP:
            if again != signal.SIGINT:
                os.kill(os.getpid(), again)
        assert stop.received == number.name
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("alone", [True, False])
def test_a_second_ctrl_c_acts_in_a_run_of_one_process_only(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if not alone:
        monkeypatch.setenv("WORLD_SIZE", "2")
    acted: list[int] = []
    outer = signal.signal(signal.SIGINT, lambda number, frame: acted.append(number))
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert (stop.received, acted) == ("SIGINT", [])
            os.kill(os.getpid(), signal.SIGINT)
            assert acted == ([signal.SIGINT] if alone else [])
    finally:
        signal.signal(signal.SIGINT, outer)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert signal.getsignal(signal.SIGTERM) != before
        assert not stop.requested()
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_it_only_watches() -> None:
    seen: list[bool] = []

    def work() -> None:
        with StopSignal() as stop:
            seen.append(stop.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_lost_launcher_stops_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, str(os.getppid()))
    assert not StopSignal().requested()
    monkeypatch.setenv(PARENT, "1" if os.getppid() != 1 else "2")
    assert StopSignal().requested()
