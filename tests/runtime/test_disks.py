"""What a command says about disks: one message, a next step, a code; never a traceback."""

from __future__ import annotations

import errno
import os
import sys

import numpy as np
import pytest

from imu_video.runtime import console
from imu_video.runtime.disks import explain


@pytest.mark.parametrize(
    ("number", "code", "hint"),
    [
        (errno.ENOSPC, 4, "free some space"),
        (errno.EDQUOT, 4, "quota"),
        (errno.EROFS, 4, "mount this one for writing"),
        (errno.EIO, 4, "dmesg"),
        (errno.EFBIG, 4, "ulimit -f"),
        (errno.EACCES, 2, "read and write permission"),
        (errno.ENOTDIR, 2, "read and write permission"),
        (errno.ELOOP, 2, "remove the link"),
    ],
)
def test_an_error_of_the_disk_is_one_message(
    number: int, code: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise OSError(number, os.strerror(number), "out/index.json", None, "new/index.json")

    with pytest.raises(SystemExit) as ended:
        console.run(app)
    assert ended.value.code == code
    message, _, advice = capsys.readouterr().err.partition("\n")
    assert message == f"error: out/index.json -> new/index.json: {os.strerror(number)}"
    assert hint in advice


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_arrays_on_a_full_disk_are_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            np.zeros(2**16).tofile(file)

    with pytest.raises(SystemExit) as ended:
        console.run(app)
    assert ended.value.code == 4
    assert capsys.readouterr().err.startswith("error: ")


def test_errors_of_libraries_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    assert explain(OSError("no such codec")) is None

    def app() -> None:
        raise OSError("no such codec")

    with pytest.raises(OSError, match="codec"):
        console.run(app)
