"""Owners of temporary names: this process, ended ones, reused identifiers, other machines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from imu_video.runtime import owners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the age of a file decides")
PRINT = "import sys; from imu_video.runtime.owners import owner; print(owner(), flush=True); sys.stdin.read()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of ours that waits, and its name."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PRINT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_process_runs_until_it_is_killed_even_if_nobody_waits_for_it(
    other: tuple[subprocess.Popen[str], str],
) -> None:
    process, name = other
    assert name != owners.owner()
    assert owners.runs(name) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the table of processes
    assert owners.runs(name) is False
    process.wait()
    assert owners.runs(name) is False


def test_a_process_with_a_reused_identifier_is_another_one() -> None:
    place, pid, start = owners.owner().split("-")
    assert owners.runs(f"{place}-{pid}-{int(start, 16) + 1:x}") is False
    assert owners.runs(f"{place}-{pid}-0") is True, "a start time that could not be read proves nothing"


def test_a_process_of_another_user_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(owners.os, "kill", refuse)
    assert owners.runs(owners.owner()) is True


@pytest.mark.parametrize("name", ["0" * 8 + "-1-1", "ffffffff-1-1", "", "1-1-1", "no owner", "0a1b2c3d"])
def test_what_another_machine_wrote_is_unknown(name: str) -> None:
    assert owners.runs(name) is None


def test_a_number_that_is_no_identifier_runs_nowhere() -> None:
    place = owners.owner().split("-")[0]
    assert owners.runs(f"{place}-ffffffff-1") is False


def test_a_forked_child_has_a_name_of_its_own() -> None:
    mine, (reading, writing) = owners.owner(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, owners.owner().encode())
        os._exit(0)
    os.waitpid(child, 0)
    seen = os.read(reading, 100).decode()
    assert seen != mine
    assert int(seen.split("-")[1], 16) == child
    assert owners.runs(seen) is False


def test_without_the_files_of_the_kernel_every_other_process_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(owners.os, "readlink", absent)
    owners._place.cache_clear()
    try:
        assert owners._place() == "0" * 8
        assert owners.runs("00000000-1-1") is None
    finally:
        owners._place.cache_clear()
