"""Children that run native code: what they answer, and that their death is an exception of the caller."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import RecordingError, ShardError
from imu_video.modalities import video_child
from imu_video.modalities.mp4 import Mp4Source, decode_mp4, encode_mp4
from imu_video.runtime import native
from imu_video.runtime.native import ChildDied, Refused, call
from imu_video.runtime.workers import WorkerLost


@pytest.fixture(autouse=True)
def deadly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Children of these tests find `deadly.py`."""
    native.close()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    yield
    native.close()


def test_answers_and_exceptions_come_back() -> None:
    answer, array = call("deadly:answer", {"x": 21}, b"\x00\x07\xff")
    assert array is not None
    assert answer["twice"] == 42
    assert array.tolist() == [[0, 7, 255]] * 2
    out = np.zeros((2, 5), np.uint8)
    again, same = call("deadly:answer", {"x": 0}, b"12345", out)
    assert same is out
    assert out[1].tobytes() == b"12345"
    assert again["pid"] == answer["pid"] != os.getpid()
    with pytest.raises(Refused, match="no such thing") as caught:
        call("deadly:refuse", {})
    assert (caught.value.facts["kind"], caught.value.facts["remedy"]) == ("ValueError", "copy")
    assert call("deadly:answer", {"x": 0}, b"")[0]["pid"] == answer["pid"], "a refusal does not end the child"


@pytest.mark.parametrize(
    ("way", "number", "text"),
    [
        ("abort", 6, "ended by signal 6 (SIGABRT)"),
        ("SIGSEGV", 11, "ended by signal 11 (SIGSEGV)"),
        pytest.param(
            "loop",
            24,
            "ended by signal 24 (SIGXCPU) after too much CPU time without progress",
            marks=pytest.mark.slow,  # twice a second of CPU time
        ),
        ("exit", 0, "ended without an answer: no more memory"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="numbers of signals of Linux")
def test_deaths_are_exceptions_and_the_next_request_has_a_new_child(way: str, number: int, text: str) -> None:
    with pytest.raises(ChildDied) as caught:
        call("deadly:die", {"way": way})
    assert (caught.value.number, str(caught.value), caught.value.outside) == (number, text, False)
    assert call("deadly:answer", {"x": 1})[0]["twice"] == 2


def test_a_request_is_repeated_once_in_a_new_child(tmp_path: Path) -> None:
    assert call("deadly:die", {"way": "SIGKILL", "once": str(tmp_path / "once")})[0] == {"way": "SIGKILL"}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_memory_is_bounded() -> None:
    with pytest.raises(Refused) as caught:
        call("deadly:allocate", {"bytes": 4 << 30})
    assert "MemoryError" in caught.value.facts["kind"]
    assert call("deadly:allocate", {"bytes": 1 << 20})[0] == {"sum": 1.0}


def test_threads_have_a_child_each() -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda x: call("deadly:answer", {"x": x}, bytes([x]) * x), range(64)))
    assert [answer["twice"] for answer, _ in answers] == [2 * x for x in range(64)]
    assert all(np.array_equal(array, np.full((2, x), x)) for x, (_, array) in enumerate(answers))
    assert len({answer["pid"] for answer, _ in answers}) <= 4


def test_a_video_that_ends_its_decoder_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_child, "SERVICE", "deadly")
    data = encode_mp4(np.zeros((4, 32, 48, 3), np.uint8), 10)
    for name in ("SIGSEGV", "abort", "SIGKILL", "fine"):
        (tmp_path / f"{name}.mp4").write_bytes(data)
    for name, text in (("SIGSEGV", r"signal 11 \(SIGSEGV\)"), ("abort", r"signal 6 \(SIGABRT\)")):
        with pytest.raises(RecordingError, match=rf"{name}\.mp4 \(\d+ bytes\): decoder ended by {text}") as caught:
            Mp4Source(tmp_path / f"{name}.mp4").read([0])
        assert "ffmpeg -i" in str(caught.value.hint)
    with pytest.raises(WorkerLost, match=r"SIGKILL\.mp4 was ended by signal 9 \(SIGKILL\), twice: out of memory"):
        _ = Mp4Source(tmp_path / "SIGKILL.mp4").times
    assert Mp4Source(tmp_path / "fine.mp4").read([3, 0]).shape == (2, 32, 48, 3)
    assert decode_mp4(data).shape == (4, 32, 48, 3)
    with pytest.raises(ShardError, match=r"clip of \d+ bytes cannot be decoded: decoder ended by signal 6 \(SIGABRT\)"):
        decode_mp4(encode_mp4(np.zeros((3, 32, 48, 3), np.uint8), 10))


def test_a_file_that_changes_between_two_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    path.write_bytes(encode_mp4(np.zeros((4, 32, 48, 3), np.uint8), 10))
    source = Mp4Source(path)
    assert source.read([0]).shape == (1, 32, 48, 3)
    path.write_bytes(encode_mp4(np.zeros((9, 48, 48, 3), np.uint8), 10))
    with pytest.raises(RecordingError, match=r"walk\.mp4 .*: the file has changed since it was opened"):
        source.read([0])


@pytest.mark.slow
def test_no_child_outlives_a_killed_parent() -> None:
    code = (
        "import os, signal; from imu_video.runtime.native import call\n"
        "print(call('deadly:answer', {'x': 0})[0]['pid'], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    for _ in range(6000):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the child still runs")
