"""Atomic files and folders: whole or absent at any kill, durable order of calls, nothing left after an error."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imu_video.runtime import files, owners
from imu_video.runtime.files import AtomicFile, atomic_folder, move_folder, open_atomic, remove_leftovers, write_atomic


class Killed(BaseException):
    """Stands for SIGKILL: the call that raises it has not been made, and no later call is made either."""


CALLS = ("replace", "rename", "fsync", "unlink", "mkdir", "open")


def calls_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, *, die_at: int | None = None) -> list[str]:
    """Names of the calls that change the disk, in order; from number ``die_at`` on each raises `Killed`."""
    made: list[str] = []

    def wrapped(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if die_at is not None and len(made) >= die_at:
                raise Killed
            made.append(name)
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in CALLS:
            patched.setattr(files.os, name, wrapped(name))
        patched.setattr(files.shutil, "rmtree", lambda *args, **kwargs: None)  # a killed process does not tidy up
        if die_at is None:
            work()
        else:
            with pytest.raises(Killed):
                work()
    return made


def test_a_file_is_synced_renamed_and_its_name_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = calls_of(lambda: write_atomic(tmp_path / "a", b"new"), monkeypatch)
    assert made[:4] == ["fsync", "replace", "open", "fsync"]
    made = calls_of(lambda: write_atomic(tmp_path / "a", b"new", sync=False), monkeypatch)
    assert "fsync" not in made


def test_a_file_is_old_or_new_wherever_the_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    total = len(calls_of(lambda: write_atomic(path, "old"), monkeypatch))
    seen = set()
    for moment in range(total):
        path.write_text("old")
        calls_of(lambda: write_atomic(path, "new"), monkeypatch, die_at=moment)
        seen.add(path.read_text())
        remove_leftovers(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert seen == {"old", "new"}


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_is_whole_wherever_the_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    def make(root: Path) -> None:
        with atomic_folder(root / "made", replace=replace) as folder:
            (folder / "one").write_text("new")
            (folder / "inner").mkdir()
            (folder / "inner" / "two").write_text("new")

    def start(root: Path) -> None:
        root.mkdir()
        if replace:
            (root / "made").mkdir()
            (root / "made" / "one").write_text("old")

    start(tmp_path / "whole")
    total = len(calls_of(lambda: make(tmp_path / "whole"), monkeypatch))
    outcomes = set()
    for moment in range(total):
        root = tmp_path / str(moment)
        start(root)
        calls_of(lambda root=root: make(root), monkeypatch, die_at=moment)  # type: ignore[misc]
        if not (root / "made").exists():
            outcomes.add("absent")
            continue
        found = {str(p.relative_to(root / "made")): p.read_text() for p in (root / "made").rglob("*") if p.is_file()}
        assert found in ({"one": "old"}, {"one": "new", "inner/two": "new"})
        outcomes.add(found["one"])
    # Between the two renames of a replacement neither folder has the name; the old one lies beside it.
    assert outcomes == ({"old", "absent", "new"} if replace else {"absent", "new"})


def test_everything_in_a_folder_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        with atomic_folder(tmp_path / "made") as folder:
            for name in ("a", "b", "c"):
                (folder / name).write_text(name)

    made = calls_of(make, monkeypatch)
    assert made[: made.index("replace")].count("fsync") == 4, "three files and the folder"
    assert made[made.index("replace") :].count("fsync") == 1, "the folder that holds the name"


def test_an_error_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with open_atomic(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    (tmp_path / "target").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "target")
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "target", 5)  # type: ignore[arg-type]
    assert (tmp_path / "target").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_an_error_leaves_no_folder_and_keeps_the_old_one(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with atomic_folder(path, replace=True) as folder:
            (folder / "one").write_text("half")
            raise ZeroDivisionError

    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "one").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "target")
    assert (tmp_path / "target" / "one").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_folder_with_content_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("years of work")
    with pytest.raises(OSError, match="target"), atomic_folder(tmp_path / "target") as folder:
        (folder / "one").write_text("new")
    assert [p.name for p in tmp_path.rglob("*")] == ["target", "mine"]


def test_the_old_folder_is_put_back_where_the_new_one_cannot_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("old")
    with pytest.raises(FileNotFoundError):
        move_folder(tmp_path / "absent", tmp_path / "target", replace=True)
    assert (tmp_path / "target" / "mine").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_writers_that_replace_one_folder_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def write(writer: int) -> None:
        start.wait()
        for turn in range(25):
            with atomic_folder(tmp_path / "target", replace=True) as folder:
                (folder / "one").write_text(f"{writer} {turn}")
                (folder / "two").write_text(f"{writer} {turn}")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result()
    assert [p.name for p in tmp_path.iterdir()] == ["target"]
    one, two = ((tmp_path / "target" / name).read_text() for name in ("one", "two"))
    assert one == two, "a folder of one writer, not a mixture"


def test_a_folder_that_disappears_between_two_looks_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer renames it just after this one has seen it."""
    target, original = tmp_path / "target", Path.stat
    target.mkdir()

    def stat(self: Path, **how: bool) -> os.stat_result:
        seen = original(self, **how)
        if self == target:
            target.rmdir()
        return seen

    monkeypatch.setattr(Path, "stat", stat)
    with atomic_folder(target, replace=True) as folder:
        (folder / "one").write_text("new")
    monkeypatch.undo()
    assert (target / "one").read_text() == "new"


@pytest.mark.parametrize("moment", ["first rename", "second rename"])
def test_a_folder_that_another_writer_replaces_meanwhile_is_replaced_in_turn(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two moments between which another writer can come, one after the other."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "one").write_text("old")
    name = {"first rename": "rename", "second rename": "replace"}[moment]
    original, came = getattr(os, name), []

    def call(source: Path, goal: Path) -> None:
        if not came:
            came.append(moment)
            if moment == "first rename":  # the other writer has moved the old folder away and not yet put its own there
                shutil.rmtree(target)
            else:
                target.mkdir()
                (target / "one").write_text("theirs")
        original(source, goal)

    with atomic_folder(target, replace=True) as folder:
        (folder / "one").write_text("new")
        monkeypatch.setattr(files.os, name, call)
    assert came
    assert (target / "one").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "target", replace=True):
        pass
    assert (tmp_path / "target").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_link_to_a_folder_is_replaced_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("mine")
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with atomic_folder(tmp_path / "target", replace=True) as folder:
        (folder / "new").write_text("new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "target"]
    assert [p.name for p in (tmp_path / "target").iterdir()] == ["new"]
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["kept"]


def test_a_folder_with_links_and_read_only_files_is_synced(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as folder:
        (folder / "link").symlink_to("absent")
        (folder / "weights").write_text("w")
        (folder / "weights").chmod(0o444)
    assert (tmp_path / "target" / "weights").read_text() == "w"


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one, two = AtomicFile(tmp_path / "a"), AtomicFile(tmp_path / "a")
    one.file.write(b"one")
    two.file.write(b"two")
    two.commit()
    one.discard()
    two.discard()
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_text_is_utf8_and_hashes_are_sha256(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "größer\n")
    assert (tmp_path / "a").read_bytes() == "größer\n".encode()
    assert files.file_sha256(tmp_path / "a") == hashlib.sha256("größer\n".encode()).hexdigest()


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "inner" / ".columns.tmp-0a1b2c3d" / "deep").mkdir(parents=True)
    (tmp_path / ".index.json.tmp-0a1b2c3d").write_text("half")
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "a.tmp-0a1b2c3d").write_text("mine")
    (tmp_path / ".env.old-2024").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("mine")
    (tmp_path / ".link.tmp-0a1b2c3d").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    remove_leftovers(tmp_path)
    left = sorted(p.name for p in tmp_path.rglob("*"))
    assert left == [".env.old-2024", ".hidden", "a.tmp-0a1b2c3d", "elsewhere", "inner", "kept"]


def name_of_a_dead_process(target: Path, kind: str = "tmp") -> Path:
    """A temporary name whose process has ended, of this machine and boot."""
    ended = subprocess.Popen([sys.executable, "-P", "-S", "-c", ""])
    ended.wait()
    place = owners.owner().split("-")[0]
    return target.with_name(f".{target.name}.{kind}-{place}-{ended.pid:x}-1-0a1b2c3d")


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the age of a file decides")


@linux
def test_dead_leftovers_are_removed_while_others_write(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    dead = [name_of_a_dead_process(tmp_path / "index.json"), name_of_a_dead_process(tmp_path / "inner" / "columns")]
    dead[0].write_text("half")
    (dead[1] / "deep").mkdir(parents=True)
    alive = [files.temporary_path(tmp_path / "index.json"), files.temporary_path(tmp_path / "inner" / "columns")]
    alive[0].write_text("half")
    (alive[1] / name_of_a_dead_process(Path("inside")).name).mkdir(parents=True)
    kept = {".index.json.tmp-0a1b2c3d", ".env.old-2024", "a.tmp-0a1b2c3d"}
    for name in kept:
        (tmp_path / name).write_text("mine")
    files.remove_dead_leftovers(tmp_path)
    assert [p.exists() for p in (*dead, *alive)] == [False, False, True, True]
    assert all((tmp_path / name).exists() for name in kept), "young, or not of our form"
    assert len(list(alive[1].iterdir())) == 1, "nothing is touched inside the folder of another writer"
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"inner", ".env.old-2024", "a.tmp-0a1b2c3d"}


@pytest.mark.parametrize("name", [".data.tmp-0a1b2c3d", ".data.tmp-ffffffff-1-1-0a1b2c3d"])
def test_names_of_other_machines_and_earlier_versions_are_removed_by_their_last_change(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "deep" / "rows.npy").write_bytes(b"half")
    os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / name / "deep" / "rows.npy", (0, 0))  # copied with the time of an old original
    files.remove_dead_leftovers(tmp_path)
    assert (tmp_path / name).exists()
    files.remove_dead_leftovers(tmp_path, abandoned_s=-1)
    assert not (tmp_path / name).exists()


@linux
def test_only_leftovers_of_one_name_are_looked_for(tmp_path: Path) -> None:
    mine, other = name_of_a_dead_process(tmp_path / "mine"), name_of_a_dead_process(tmp_path / "other")
    for folder in (mine, other, tmp_path / "inner" / mine.name):
        folder.mkdir(parents=True)
    with atomic_folder(tmp_path / "mine") as folder:
        (folder / "one").write_text("new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([other.name, "inner", "mine"])
    assert (tmp_path / "inner" / mine.name).exists()
    files.remove_dead_leftovers(tmp_path / "absent")


@linux
@pytest.mark.parametrize("remover", [remove_leftovers, files.remove_dead_leftovers])
def test_a_folder_set_aside_by_a_killed_process_gets_its_name_back(
    remover: Callable[[Path], None], tmp_path: Path
) -> None:
    """Killed between the two renames: the folder that was to be replaced is the only complete one."""
    old, new = name_of_a_dead_process(tmp_path / "encoder", "old"), name_of_a_dead_process(tmp_path / "encoder")
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "one").write_text(text)
    remover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder"]
    assert (tmp_path / "encoder" / "one").read_text() == "old"
    (tmp_path / "encoder").rename(old)
    (tmp_path / "encoder").mkdir()
    remover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder"], "replaced: the old one goes"
    assert not list((tmp_path / "encoder").iterdir())


def test_long_names_are_shortened_and_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "\u00fc" * 127):
        write_atomic(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
        temporary = files.temporary_path(tmp_path / name).name
        assert len(os.fsencode(temporary)) <= 143
        assert files.is_leftover(temporary)
        (tmp_path / name).unlink()
        with atomic_folder(tmp_path / name, replace=True):
            pass
        aside = files.aside_path(tmp_path / name)
        (tmp_path / name).rename(aside)
        remove_leftovers(tmp_path)
        assert aside.exists(), "its whole name is unknown, and nothing replaced it"
        aside.rmdir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", [False, True])
def test_planted_temporary_names_are_not_written_to(
    link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where another user could guess the name."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(files, "temporary_path", lambda target: target.with_name(f".{target.name}.tmp-0a1b2c3d"))
    planted = tmp_path / ".made.tmp-0a1b2c3d"
    planted.symlink_to(victim) if link else planted.hardlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "made", "new")
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "made"):
        pass
    assert victim.read_text() == "mine"
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(umask: int, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("mine")
    (tmp_path / "shared").chmod(0o640)
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "made") as folder:
            for mode in (0o600, 0o777, 0o400):
                (folder / f"{mode:o}").write_text("new")
                (folder / f"{mode:o}").chmod(mode)
            (folder / "inner").mkdir(0o700)
            (folder / "inner" / "one").write_text("new")
            (folder / "second").hardlink_to(tmp_path / "shared")
            (folder / "link").symlink_to(tmp_path / "shared")
        write_atomic(tmp_path / "file", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640, "a file outside keeps its permissions"
    made = [path for path in (tmp_path / "made").rglob("*") if path.name not in ("link", "second")]
    assert len(made) == 5
    for path in (*made, tmp_path / "made", tmp_path / "file"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_link_leaves_a_name_taken_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "to empty").symlink_to(tmp_path / "empty", target_is_directory=True)
    names = ("absent", "empty", "full", "full/a", "nowhere", "to empty")
    assert [files.is_free(tmp_path / name) for name in names] == [True, True, False, False, False, False]
