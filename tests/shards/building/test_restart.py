"""A killed build continues: finished people and shards are not made again, and the bytes are those of a whole build."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError
from imu_video.runtime.journal import Journal, interrupted, piece_name
from imu_video.runtime.workers import WorkerLost, run
from imu_video.shards.building import encode
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.building.encode import EncodePerson, ReadPlan
from imu_video.shards.publish import partial_folder
from imu_video.shards.schema import Index

SCRIPT = Path(__file__).parent / "kill_points.py"
HANG_S = 1800
SMALL = {"window": {"seconds": 1.0, "rate_hz": 20, "skeleton_fps": 10}, "shard_samples": 5}
Maker = Callable[..., BuildConfig]
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def whole(people_config: Maker, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(people_config(**SMALL), tmp_path_factory.mktemp("whole") / "data")


class _Stopped(BaseException):
    """Stands for Ctrl-C."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Make the encoding of people stop after some; returns the list of those who were encoded."""

    original = encode._encode_person

    def arrange(number: int) -> list[str]:
        encoded: list[str] = []

        def counting(source: object, subject: str, *rest: object) -> Iterator[object]:
            if len(encoded) >= number:
                raise _Stopped
            yield from original(source, subject, *rest)  # type: ignore[arg-type]
            encoded.append(subject)

        monkeypatch.setattr(encode, "_encode_person", counting)
        return encoded

    return arrange


def lines_of(child: subprocess.Popen[str]) -> Iterator[str]:
    """Lines of a child's output; a child without a new line for `HANG_S` hangs and is killed.

    A limit on the time of the whole child would depend on the speed of the machine: it makes two builds per line.
    """
    assert child.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        rest = ""
        while True:
            if not waiting.select(timeout=HANG_S):
                child.kill()
                raise AssertionError(f"no progress for {HANG_S} s")
            block = os.read(child.stdout.fileno(), 1 << 16).decode()
            *lines, rest = (rest + block).split("\n")
            yield from lines
            if not block:
                return


@pytest.mark.slow  # a process and a build per point
@pytest.mark.timeout(0)
@pytest.mark.parametrize("step", [37, 1])
def test_killed_at_a_change_of_the_disk_it_resumes_to_the_same_bytes(
    people_config: Maker, tiny_plugin: Path, tmp_path: Path, step: int
) -> None:
    config = json.dumps(people_config(**SMALL).model_dump(mode="json"))
    with (tmp_path / "errors").open("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", SCRIPT, tiny_plugin, tmp_path, config, str(step)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        points = [json.loads(line) for line in lines_of(child)]
        assert child.wait() == 0, (tmp_path / "errors").read_text()
    assert len(points) > 100 / step
    assert all(point["killed"] for point in points[:-1])
    assert [p["call"] for p in points if not p["same"] or p["resumed"]] == []
    assert all(p["others"] == [f"killed-{p['call']}.notes"] for p in points)  # nothing else is left beside the folder
    # The further it had come, the more people it finds finished.
    found = [int(p["notes"][0].split(": ")[1].split()[0]) for p in points if p["notes"]]
    assert found == sorted(found)
    assert found[-1] == 4


def test_what_is_finished_is_not_encoded_again(
    people_config: Maker,
    whole: Index,
    files_of: Tree,
    tmp_path: Path,
    stop_after: Callable[[int], list[str]],
    logged: Any,
) -> None:
    config, out = people_config(**SMALL), tmp_path / "data"
    first = stop_after(2)
    with pytest.raises(_Stopped):
        build(config, out)
    assert first == ["p0", "p1"]
    assert not out.exists()
    assert partial_folder(out).is_dir()
    second = stop_after(99)
    build(config, out)
    assert second == ["p3", "p2"]
    assert logged.lines == [
        f"continuing {partial_folder(out)}: 2 of 4 subjects are finished (delete that folder if their recordings "
        "changed since)"
    ]
    assert files_of(out) == files_of(whole.root)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_finished_shards_stay_and_used_up_people_leave_no_tar(
    people_config: Maker, tmp_path: Path, stop_after: Callable[[int], list[str]], whole: Index, files_of: Tree
) -> None:
    config, out = people_config(**SMALL), tmp_path / "data"
    stop_after(2)
    with pytest.raises(_Stopped):
        build(config, out)
    work = partial_folder(out)
    # 14 samples of train in tars of 5: when the next split begins, all are closed and p0 and p1 are used up.
    assert sorted(p.name for p in (work / "data" / "shards").glob("*.tar")) == [f"train-00000{i}.tar" for i in range(3)]
    assert list(work.glob("p*.tar")) == []
    before = (work / "data" / "shards" / "train-000000.tar").stat().st_mtime_ns
    stop_after(99)
    build(config, out)
    assert (out / "shards" / "train-000000.tar").stat().st_mtime_ns == before
    assert files_of(out) == files_of(whole.root)


@pytest.mark.parametrize("damage", ["shard", "note", "both"])
def test_damaged_pieces_are_made_again(
    people_config: Maker,
    tmp_path: Path,
    stop_after: Callable[[int], list[str]],
    whole: Index,
    files_of: Tree,
    damage: str,
) -> None:
    config, out = people_config(**SMALL), tmp_path / "data"
    stop_after(2)
    with pytest.raises(_Stopped):
        build(config, out)
    work = partial_folder(out)
    if damage in ("shard", "both"):
        shard = work / "data" / "shards" / "train-000001.tar"
        content = bytearray(shard.read_bytes())
        content[700] ^= 1
        shard.write_bytes(content)
    if damage in ("note", "both"):
        (work / f"{piece_name('p0')}.collected.json").write_text("{")
    again = stop_after(99)
    build(config, out)
    assert again == ["p0", "p1", "p3", "p2"]
    assert files_of(out) == files_of(whole.root)


def test_unfinished_work_of_another_config_is_refused_or_replaced_with_a_word(
    people_config: Maker,
    tmp_path: Path,
    stop_after: Callable[[int], list[str]],
    whole: Index,
    files_of: Tree,
    logged: Any,
) -> None:
    out = tmp_path / "data"
    stop_after(1)
    with pytest.raises(_Stopped):
        build(people_config(**{**SMALL, "shard_samples": 4}), out)
    stop_after(99)
    with pytest.raises(ConfigError, match=r"unfinished build of another config(.|\n)*--force"):
        build(people_config(**SMALL), out)
    build(people_config(**SMALL), out, force=True)
    assert logged.lines == [
        f"{partial_folder(out)} contained an unfinished build of another config: discarded "
        "(config.shard_samples: 4 -> 5; shard_samples: 4 -> 5)"
    ]
    assert files_of(out) == files_of(whole.root)


def test_a_folder_of_that_name_that_is_no_build_is_never_touched(people_config: Maker, tmp_path: Path) -> None:
    partial = tmp_path / "data.partial"
    partial.mkdir()
    (partial / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match="exists and is not an unfinished build"):
            build(people_config(**SMALL), tmp_path / "data", force=force)
    assert (partial / "thesis.tex").read_text() == "years of work"


def test_two_builds_at_once_are_refused(people_config: Maker, tmp_path: Path) -> None:
    with Journal(partial_folder(tmp_path / "data"), {"a": 1}, what="build"), pytest.raises(ConfigError) as caught:
        build(people_config(**SMALL), tmp_path / "data", force=True)
    assert "another process is writing to" in str(caught.value)


def _resist(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def test_a_worker_that_dies_is_named_and_its_work_kept() -> None:
    assert list(run(_resist, [0, 1, 3], workers=2)) == [0, 1, 9]
    with pytest.raises(WorkerLost, match="worker process died") as caught:
        list(run(_resist, [0, 1, 2, 3], workers=2))
    assert interrupted(caught.value)
    assert interrupted(KeyboardInterrupt())
    assert interrupted(OSError(28, "disk full"))
    assert not interrupted(ValueError("a bug"))
    with pytest.raises(ConfigError, match="unknown engine 'dask'"):
        run(_resist, [1], engine="dask")


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(
    people_config: Maker, tiny_plugin: Path, tmp_path: Path, whole: Index, files_of: Tree
) -> None:
    """SIGKILL of the command while two workers encode: they end too, and the next run finishes the folder.

    p2 and p3 wait for a file that never comes, so that the build runs when it is killed, however slow this process is.
    """
    config = people_config(**SMALL)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from imu_video.registry import load_plugin; load_plugin(sys.argv[1])\n"
        "from imu_video.shards.building.build import BuildConfig, build\n"
        "if __name__ == '__main__':\n"
        "    config = BuildConfig.model_validate(json.loads(sys.argv[2]))\n"
        "    build(config, sys.argv[3], workers=2, plugins=[sys.argv[1]])\n"
    )
    out = tmp_path / "data"
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-P", tmp_path / "run.py", tiny_plugin, json.dumps(config.model_dump(mode="json")), out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TINY_PEOPLE_WAIT": str(tmp_path / "never")},
    )
    work = partial_folder(out)
    while not list(work.glob("p*-*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()  # returns when the last worker has closed its end of the pipes
    assert not out.exists()
    build(config, out)
    assert files_of(out) == files_of(whole.root)


def test_a_task_travels_without_what_it_opened(people_config: Maker, tmp_path: Path) -> None:
    import pickle

    with Journal(tmp_path / "work", {"a": 1}, what="build") as journal:
        reading = ReadPlan(dataset={"name": "tiny_people"}, seed=0, recipe=people_config().recipe)
        task = EncodePerson(plan=reading, journal=journal)
        task("p0")
        copied = pickle.loads(pickle.dumps(task))
        assert copied.source is None
        copied("p1")
        assert journal.finished(piece_name("p1")) is not None
