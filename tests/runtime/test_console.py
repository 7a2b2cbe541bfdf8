"""Errors become one message and an exit code; tables can be piped."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from imu_video import errors
from imu_video.runtime import console


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.RecordingError, 3),
        (errors.ShardError, 3),
        (errors.TeacherCacheError, 3),
        (errors.CheckpointError, 3),
        (errors.LeakageError, 3),
        (errors.GuardStop, 4),
        (errors.ParityError, 5),
    ],
)
def test_known_errors_become_exit_codes(
    kind: type[errors.ImuVideoError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("index.json is missing", hint="imu-video verify DATA --repair")

    with pytest.raises(SystemExit) as stopped:
        console.run(fail)
    assert stopped.value.code == code
    captured = capsys.readouterr()
    assert captured.err == "error: index.json is missing\n  try: imu-video verify DATA --repair\n"
    assert captured.out == ""


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        console.run(lambda: 1 / 0)


def test_a_path_that_cannot_be_written_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stopped:
        console.run((tmp_path / "file" / "run").mkdir)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/file/run: Not a directory\n  try: choose a path with read and write permission\n"
    )


def test_a_full_disk_is_a_guard(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit) as stopped:
        console.run(full)
    assert stopped.value.code == 4
    assert capsys.readouterr().err.startswith("error: No space left on device\n  try: free some space")


def test_interrupts_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        console.run(interrupted)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_tables_are_tab_separated_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["a", "b"], [[1, "x"], [2, "y"]], title="t")
    assert capsys.readouterr().out.splitlines()[-3:] == ["a\tb", "1\tx", "2\ty"]


def test_the_nearest_word_is_offered() -> None:
    assert errors.nearest("batchsize", ["batch_size", "seed"]) == "; did you mean 'batch_size'?"
    assert errors.nearest("zzz", ["a", "b"]) == "; known: a, b"
