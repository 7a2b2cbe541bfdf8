"""The run folder: what a repeated, resumed or disturbed launch finds, keeps and says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.runtime.references import resolve
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.observe import status
from pretrain.observe.reporter import Reporter
from pretrain.observe.status import describe
from pretrain.observe.trackers import SET_ASIDE, read_log
from pretrain.run import run
from pretrain.runs.folder import FolderLost, RunFolder, default_folder

Maker = Callable[..., PretrainConfig]
SIX: dict[str, Any] = {"optim": {"steps": 6}, "run": {"keep": 9, "checkpoint_every": 2, "validate_every": 100}}


@pytest.fixture(scope="module")
def whole(data: Any, raw: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 6 steps with checkpoints of steps 2, 4 and 6; read only."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(PretrainConfig.model_validate(raw(data.root, **SIX)), folder=folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "run")


def final(folder: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.folder / "step-00000006").model


def same_end(a: Path, b: Path) -> bool:
    one, two = final(a), final(b)
    curves = [[(line["kind"], line["step"], line["loss"]) for line in read_log(f / "log.jsonl")] for f in (a, b)]
    return curves[0] == curves[1] and one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_an_older_checkpoint_continues_in_the_same_folder(
    make_config: Maker, whole: Path, copy: Path, logged: Any
) -> None:
    before = (copy / "log.jsonl").read_bytes().splitlines(keepends=True)
    outcome = run(make_config(**SIX), folder=copy, resume=str(copy / "checkpoints" / "step-00000002"))
    assert outcome.state.step == 6
    aside = copy / "checkpoints" / "set-aside-1"
    assert sorted(p.name for p in aside.iterdir()) == ["step-00000004", "step-00000006"]
    later = [line for line in before if json.loads(line)["step"] > 2]
    assert (copy / SET_ASIDE).read_bytes().splitlines(keepends=True) == later
    assert same_end(whole, copy)
    assert any("step-00000004, step-00000006 moved to set-aside-1/" in line for line in logged.lines)
    assert any(f"after step 2, up to step 6, moved to {SET_ASIDE}" in line for line in logged.lines)


def test_a_lost_pointer_continues_where_the_run_was(make_config: Maker, whole: Path, copy: Path, logged: Any) -> None:
    """The same command once deleted every checkpoint, emptied the log and started at step 0."""
    for which in ("latest", "best"):
        (copy / "checkpoints" / which).unlink()
    shutil.rmtree(copy / "checkpoints" / "step-00000006")
    (copy / "config.yaml").unlink()
    assert run(make_config(**SIX), folder=copy).state.step == 6
    assert same_end(whole, copy)
    assert any("latest is missing: continuing from step-00000004" in line for line in logged.lines)
    assert CheckpointStore(copy / "checkpoints").pointer("best") == "step-00000006"
    assert (copy / "config.yaml").exists()


def test_a_log_without_checkpoints_is_kept(make_config: Maker, whole: Path, copy: Path, logged: Any) -> None:
    shutil.rmtree(copy / "checkpoints")
    before = (copy / "log.jsonl").read_bytes()
    run(make_config(**SIX), folder=copy)
    assert (copy / SET_ASIDE).read_bytes() == before
    assert any("a log up to step 6 but no checkpoint: the run starts again at step 0" in line for line in logged.lines)
    assert same_end(whole, copy)


BROKEN_JSON = [b"", b'{"identity": 3, "launches": []}', b"\xff\xfe\x00", b"[" * 100_000]


@pytest.mark.parametrize("content", BROKEN_JSON, ids=range(len(BROKEN_JSON)))
def test_a_damaged_environment_is_set_aside(make_config: Maker, copy: Path, content: bytes, logged: Any) -> None:
    (copy / "environment.json").write_bytes(content)
    run(make_config(**SIX), folder=copy)
    assert (copy / "environment.damaged-1.json").read_bytes() == content
    assert len(json.loads((copy / "environment.json").read_text())["launches"]) == 1
    assert any("environment.json" in line and "moved to environment.damaged-1.json" in line for line in logged.lines)


def test_without_checkpoint_and_environment_the_config_is_compared(make_config: Maker, copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    (copy / "environment.json").write_text("{")
    with pytest.raises(ConfigError, match=r"optim\.lr: 0\.003 -> 0\.5"):
        run(make_config(**{**SIX, "optim": {"steps": 6, "lr": 0.5}}), folder=copy)
    (copy / "config.yaml").write_text("name: [")
    assert run(make_config(**SIX), folder=copy).state.step == 6


def test_damaged_log_lines_are_set_aside(make_config: Maker, whole: Path, copy: Path, logged: Any) -> None:
    log = copy / "log.jsonl"
    bad = [b"{\n", b"\xff\x00\n", b"3\n", b'{"kind": "train", "step": "2"}\n', b"\r\n"]
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*bad[:2], *lines[:3], *bad[2:], *lines[3:], b'{"kind": "tra']))
    tables = {title: rows for title, _, rows in describe(copy)}
    assert tables["log"] == [["log.jsonl", "5"]]
    run(make_config(**SIX), folder=copy)
    assert log.read_bytes() == b"".join(lines)
    assert (copy / SET_ASIDE).read_bytes() == b"".join([*bad, b'{"kind": "tra\n'])
    assert any(f"damaged lines moved to {SET_ASIDE}: 5" in line for line in logged.lines)
    assert same_end(whole, copy)


def test_status_shows_damage_and_goes_on(copy: Path) -> None:
    state = copy / "checkpoints" / "step-00000004" / "state.json"
    state.write_text(state.read_text()[:-40])
    (copy / "checkpoints" / "latest").unlink()
    rows = {title: rows for title, _, rows in describe(copy)}["checkpoints"]
    assert [row[0] for row in rows] == ["step-00000002", "step-00000004", "step-00000006"]
    assert rows[1] == ["step-00000004", "", "state.json is damaged"]


def test_status_lists_again_where_every_listed_checkpoint_was_replaced(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, later = copy / "checkpoints", copy / "later"
    (folder / "step-00000006").rename(later)
    real = status.read_state

    def read(path: Path) -> Any:
        if later.exists():  # a running process saves step 6 and deletes the others
            later.rename(folder / "step-00000006")
            for step in ("step-00000002", "step-00000004"):
                shutil.rmtree(folder / step)
        return real(path)

    monkeypatch.setattr(status, "read_state", read)
    rows = {title: rows for title, _, rows in describe(copy)}["checkpoints"]
    assert [row[0] for row in rows] == ["step-00000006"]


@pytest.mark.parametrize("how", ["removed", *(pytest.param(h, marks=pytest.mark.slow) for h in ("moved", "replaced"))])
def test_a_folder_that_goes_away_stops_the_run_and_its_state_is_saved(
    make_config: Maker, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = tmp_path / "run"
    real = Reporter.numbers

    def numbers(self: Reporter, kind: str, step: int, values: dict[str, float]) -> None:
        if step == 3:
            folder.rename(tmp_path / "away")
            if how == "removed":
                shutil.rmtree(tmp_path / "away")
            if how == "replaced":
                folder.mkdir()
        real(self, kind, step, values)

    with monkeypatch.context() as patched:
        patched.setattr(Reporter, "numbers", numbers)
        with pytest.raises(FolderLost, match="was removed or replaced while the run was writing to it") as caught:
            run(make_config(**SIX), folder=folder)
    assert caught.value.exit_code == 4
    rescued = tmp_path / "run.rescued-1"
    assert f"the state after step 3 was saved to {rescued}" in caught.value.message
    assert caught.value.hint == f"imu-pretrain launch {rescued / 'config.yaml'} --run {rescued}"
    assert list(folder.iterdir()) == [] if how == "replaced" else not folder.exists()
    run(make_config(**SIX), folder=rescued)  # the hint
    one, two = final(whole), final(rescued)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_deleted_lock_or_log_is_no_reason_to_stop(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    real = Reporter.numbers

    def numbers(self: Reporter, kind: str, step: int, values: dict[str, float]) -> None:
        if step == 3:
            (tmp_path / "run" / ".lock").unlink()
            (tmp_path / "run" / "log.jsonl").unlink()
        real(self, kind, step, values)

    monkeypatch.setattr(Reporter, "numbers", numbers)
    run(make_config(**SIX), folder=tmp_path / "run")
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [3, 4, 5, 6, 6]
    assert any("log.jsonl was deleted or replaced" in line for line in logged.lines)


def test_a_launch_that_another_one_overtook_is_refused(make_config: Maker, copy: Path) -> None:
    """Between reading the folder and locking it, another process trained there."""
    folder = RunFolder(copy)
    identity = json.loads((copy / "environment.json").read_text())["identity"]
    start = folder.find_start("auto", identity)
    shutil.copytree(copy / "checkpoints" / "step-00000006", copy / "checkpoints" / "step-00000008")
    with folder.lock(), pytest.raises(ConfigError, match="another process has written checkpoints") as caught:
        folder.begin(make_config(**SIX), identity, {}, start=start)
    assert caught.value.hint == "run the same command again"


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("theirs")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"), RunFolder(tmp_path / "run").lock():
        pass
    assert (tmp_path / "secret").read_text() == "theirs"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, pytest.param(0o077, marks=pytest.mark.slow)])
def test_permissions_follow_the_umask(make_config: Maker, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run(make_config(optim={"steps": 1}), folder=tmp_path / "run")
    finally:
        os.umask(before)
    for path in (tmp_path / "run").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_the_default_folder_has_no_value_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_NAME", "secret-study")
    name = resolve({"name": "${STUDY_NAME}"}, "run.yaml")["name"]
    assert default_folder("plain", "abc") == Path("runs/plain-abc")
    assert default_folder(name, "abc") == Path("runs/run-abc")
    Path("runs/secret-study-abc").mkdir(parents=True)
    assert default_folder(name, "abc") == Path("runs/secret-study-abc"), "made by an earlier version"
