"""Errors become one message and an exit code; tables can be piped."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from pathlib import Path

import pytest

from imu_video import errors
from imu_video.runtime import console
from imu_video.runtime.text import plain
from tests.hostile import HOSTILE


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


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_in_tables_are_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for name in HOSTILE:
        shown = []
        for stream in (_Terminal(), io.StringIO()):
            monkeypatch.setattr("sys.stdout", stream)
            console.table(["label", name], [[name, 1], ["walk", name]], title=f"labels of <{name}>")
            console.say(f"built {name}", name)
            shown.append(stream.getvalue())
        terminal, pipe = shown
        plainly = plain(name)
        assert pipe == f"label\t{plainly}\n{plainly}\t1\nwalk\t{plainly}\nbuilt {plainly}\n{plainly}\n"
        drawn = re.sub("\x1b\\[[0-9;]*m", "", terminal)  # rich's own styles
        assert f"labels of <{plainly}>" in drawn
        assert drawn.count(plainly.rstrip()) >= 6
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\udc80]", drawn)


def test_a_name_cannot_forge_a_hint_or_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise errors.DataError("label a\n  try: rm -rf x\r\x1b[1A is unknown\n    walk: 1 -> 2", hint="see\nerror: b")

    with pytest.raises(SystemExit):
        console.run(fail)
    assert capsys.readouterr().err == (
        "error: label a\n      try: rm -rf x\\r\\x1b[1A is unknown\n    walk: 1 -> 2\n  try: see\\nerror: b\n"
    )


def test_tracebacks_and_relayed_output_are_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.excepthook", sys.excepthook)

    def fail() -> None:
        raise ValueError("\x1b[2J")

    with pytest.raises(ValueError, match="2J") as raised:
        console.run(fail)
    sys.excepthook(raised.type, raised.value, raised.tb)
    console.relay("\x1b[31mred\n")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "ValueError: \\x1b[2J\n" in shown
    assert shown.endswith("\\x1b[31mred\n")


def test_a_narrow_encoding_shows_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    console.say("café")
    assert stream.buffer.getvalue() == b"caf\\xe9\n"  # type: ignore[attr-defined]


def test_json_is_json_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_json({"label": "\u202e\x1b\U000e0041é"})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"label": "\u202e\x1b\U000e0041é"}
    assert "é" in shown
    assert "\u202e" not in shown
