"""Log records on the screen of a command: silent without one, plain lines in a pipe, a bar in a terminal."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from imu_video.runtime.logging import Progress, log_progress, on_screen

logger = logging.getLogger("imu_video.somewhere")


def test_the_library_is_silent_without_a_screen() -> None:
    code = (
        "import logging\nfrom imu_video.runtime.logging import log_progress\n"
        "logger = logging.getLogger('imu_video.somewhere')\n"
        "logger.info('a line')\nlog_progress(logger, 1, 2, 'people')\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_lines_go_to_stdout_while_the_screen_is_on(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("before")
    with on_screen():
        for name in ("imu_video.somewhere", "pretrain.run", "eval.cli", "another_package"):
            logging.getLogger(name).info("from %s", name)
    logger.info("after")
    assert capsys.readouterr() == ("from imu_video.somewhere\nfrom pretrain.run\nfrom eval.cli\n", "")


def test_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with on_screen():
        logging.getLogger("imu_video.demo").warning("no label in %s", "a.csv")
    assert capsys.readouterr() == ("", "warning: no label in a.csv\n")


def test_levels_and_handlers_are_put_back() -> None:
    package = logging.getLogger("imu_video")
    before = (package.level, list(package.handlers))
    with pytest.raises(RuntimeError), on_screen():
        raise RuntimeError
    assert (package.level, package.handlers) == before


def test_progress_in_a_pipe_is_about_twenty_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with on_screen():
        for done in range(1, 1001):
            log_progress(logger, done, 1000, "samples", "train")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1/1000 samples: train"
    assert lines[1] == "50/1000 samples: train"
    assert lines[-1] == "1000/1000 samples: train"
    assert len(lines) == 21


def test_progress_in_a_terminal_is_a_bar_on_stderr_that_is_taken_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with on_screen() as screen:
        log_progress(logger, 1, 3, "people", "anna")
        assert screen._bar is not None
        log_progress(logger, 3, 3, "people", "carl")
        assert screen._bar is None, "the result of a command is not drawn around a bar"
        log_progress(logger, 1, 3, "people", "anna")
        bar = screen._bar
    assert screen._bar is None
    assert bar is not None
    assert bar.finished is False
    assert not bar.live.is_started, "an error that leaves the context takes the bar away, too"
    out, err = capsys.readouterr()
    assert out == ""
    assert "people" in err


def test_nothing_is_formatted_where_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Progress) -> str:
        raise AssertionError("formatted")

    monkeypatch.setattr(Progress, "__str__", refuse)
    log_progress(logger, 1, 2, "people")


def test_a_record_that_cannot_be_shown_does_not_end_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    with on_screen() as screen:
        screen.handle(logging.makeLogRecord({"msg": "%d files", "args": ("no number",), "levelno": logging.INFO}))
        logger.info("goes on")
    out, err = capsys.readouterr()
    assert out == "goes on\n"
    assert "Logging error" in err


def test_a_closed_pipe_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError

    with on_screen():
        monkeypatch.setattr("sys.stdout.write", closed)
        with pytest.raises(BrokenPipeError):
            logger.info("a line")
