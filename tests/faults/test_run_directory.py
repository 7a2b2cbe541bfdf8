"""Run folders that are interrupted, full, damaged, disordered or watched: every state is found again or named."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.errors import CheckpointError
from imu_video.testing import write_folder
from pretrain.checkpoints.store import CheckpointStore, step_name
from pretrain.observe.status import describe
from pretrain.observe.trackers import SET_ASIDE, JsonLines, open_trackers, read_log
from pretrain.runs.folder import RunFolder
from tests.faults import children
from tests.faults.conftest import Case, Score
from tests.faults.interrupted_saves import CONFIG, IDENTITY, made

pytestmark = [pytest.mark.slow, pytest.mark.faults]
HERE = Path(__file__).parent


def counted(case: Case, text: str) -> None:
    """Add the counts that a script printed."""
    found = json.loads(text.strip().splitlines()[-1])
    case.tried, case.right, case.wrong = found["tried"], found["right"], found["wrong"][:5]


@pytest.mark.parametrize("mode", ["kill", "full"])
@pytest.mark.parametrize("scenario", ["save", "begin"])
def test_interrupted_at_every_operation(scenario: str, mode: str, score: Score, tmp_path: Path) -> None:
    ended = children.start([HERE / "interrupted_saves.py", scenario, mode, tmp_path])
    assert ended.code == 0, ended.err
    what = {"save": "save of a checkpoint", "begin": "begin of a resumed run"}[scenario]
    with score(f"{what}: {'SIGKILL before' if mode == 'kill' else 'ENOSPC at'} each file operation") as case:
        counted(case, ended.out)


@pytest.fixture
def tmpfs() -> None:
    """Skips where this user may not mount a file system in a namespace of its own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces: a file system of a few pages cannot be mounted")


@pytest.mark.usefixtures("tmpfs")
def test_a_disk_with_every_number_of_pages_left(score: Score, tmp_path: Path) -> None:
    with score("save of a checkpoint on a full disk (tmpfs), by free pages") as case:
        done = subprocess.run(
            ["unshare", "-rm", sys.executable, "-P", str(HERE / "full_disk.py"), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(children.ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        counted(case, done.stdout)


def config_of(root: Path, at: Path, steps: int) -> Path:
    """A config that trains on 64 made-up windows without a teacher."""
    rng = torch.Generator().manual_seed(0)
    made_up = {split: [_window(split, i, rng) for i in range(count)] for split, count in (("train", 64), ("val", 16))}
    write_folder(root, made_up, rate_hz=25.0, placements=("wrist",))
    file = at / "config.yaml"
    file.write_text(
        f"data: {{root: {root}, batch_size: 16, teacher: null}}\n"
        "encoder: {name: patch_tst, width: 16, layers: 1, heads: 2, ffn: 32, patch: 10, stride: 10}\n"
        "loss: []\nobjective: [{name: masked_patches}]\n"
        f"optim: {{steps: {steps}}}\n"
        "run: {validate_every: 3, checkpoint_every: 2, keep: 1, log_every: 1, device: cpu, threads: 1}\n"
    )
    return file


def _window(split: str, i: int, rng: torch.Generator) -> Any:
    from imu_video.types import Window

    return Window(
        key=f"made-{split}-{i:03d}",
        recording=f"{split}-{i // 8}",
        subject=f"{split}-{i // 16}",
        session="1",
        start=2.0 * (i % 8),
        imu={"wrist": torch.randn(6, 50, generator=rng).numpy()},
        label=None,
    )


@pytest.mark.usefixtures("tmpfs")
def test_a_launch_whose_disk_fills_is_one_message_and_4(score: Score, tmp_path: Path) -> None:
    config = config_of(tmp_path / "data", tmp_path, steps=8)
    (tmp_path / "disk").mkdir()
    with score("launch on a disk that fills up: one message, exit 4, the same command continues") as case:
        done = subprocess.run(
            ["unshare", "-rm", sys.executable, "-P", str(HERE / "full_disk.py"), str(tmp_path / "disk"), str(config)],
            env={**os.environ, "PYTHONPATH": str(children.ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        case.add(done.returncode == 4, f"code {done.returncode}")
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        case.add(len(errors) == 1 and "No space left" in errors[0] and "Traceback" not in done.stderr, done.stderr)
        case.add('{"newest": "step-00000004"}' in done.stdout, done.stdout)
        case.add('{"again": "step-00000008"}' in done.stdout, done.stdout)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 2 (the best), 4 and 6; read only."""
    store = CheckpointStore(tmp_path_factory.mktemp("made") / "checkpoints", keep=9)
    for step in (2, 4, 6):
        store.write(step, made(step, best=2))
    return store.folder


def copies(of: Path, at: Path) -> Iterator[CheckpointStore]:
    """Fresh copies, one at a time."""
    while True:
        shutil.rmtree(at, ignore_errors=True)
        yield CheckpointStore(shutil.copytree(of, at), keep=9)


POINTERS = [
    None,
    b"",
    b"\n",
    b"\x80\x81",
    b"../../x\n",
    b"step-00000099\n",
    b"step-00000002\n",
    b"step-00000004\n",
    "x",
]


def test_pointers_and_checkpoints_lost_in_every_combination(checkpoints: Path, score: Score, tmp_path: Path) -> None:
    """`latest` and `best` each in nine states, and each checkpoint whole, damaged or gone."""
    fresh = copies(checkpoints, tmp_path / "c")
    states = ("whole", "damaged", "gone")
    with score("pointers and checkpoints lost: found again, or named with a hint that helps") as case:
        for latest, best, *each in itertools.product(POINTERS, POINTERS, states, states, states):
            store = next(fresh)
            for name, content in (("latest", latest), ("best", best)):
                if content == "x":
                    (store.folder / name).unlink()
                elif content is not None:
                    (store.folder / name).write_bytes(content)  # type: ignore[arg-type]
            for step, state in zip((2, 4, 6), each, strict=True):
                if state == "gone":
                    shutil.rmtree(store.folder / step_name(step))
                if state == "damaged":
                    os.truncate(store.folder / step_name(step) / "model.safetensors", 100)
            case.add(*_outcome(store, dict(zip((2, 4, 6), each, strict=True)), lost=latest == "x"))


def _outcome(store: CheckpointStore, states: dict[int, str], *, lost: bool) -> tuple[bool, str]:
    whole = [step for step, state in states.items() if state == "whole"]
    there = [step for step, state in states.items() if state != "gone"]
    before = {step: sorted((store.folder / step_name(step)).iterdir()) for step in there}
    try:
        start = store.newest()
        if start is not None:
            store.read(start)
    except CheckpointError as error:
        hint = error.hint or ""
        if not whole:
            return "--run NEW" in hint, f"{states}: {error}"
        wanted = store.folder / step_name(whole[-1])
        if there[-1] == whole[-1] or f"--resume {wanted} " not in hint:
            return False, f"{states}: {error}"
        start = wanted  # as the hint says
    if start is None:
        return not there and lost, f"{states}: start from nothing"
    store.read(start)
    store.settle(start)
    aside = {path.name: path for path in store.folder.glob("set-aside-*/step-*")}
    kept = all((aside.get(step_name(s)) or store.folder / step_name(s)).is_dir() for s in before)
    best = store.pointer("best")
    right = start.name == step_name(whole[-1]) and store.pointer("latest") == start.name and kept
    # Step 2 is the best of every state; damaged or not, it is the one that the states name.
    right = (
        right
        and best == (step_name(2) if 2 in there else None)
        and (best or not os.path.lexists(store.folder / "best"))
    )
    return bool(right), f"{states}: {start.name}, best {best}, kept {kept}"


def damages(data: bytes, pieces: int) -> Iterator[bytes]:
    """A flipped bit, zeros, another byte, and a cut, in each of some regions of a file."""
    for number in range(pieces):
        at, end = (
            len(data) * number // pieces,
            max(len(data) * number // pieces + 1, len(data) * (number + 1) // pieces),
        )
        yield data[:at] + bytes([data[at] ^ 1 << number % 8]) + data[at + 1 :]
        if any(data[at:end]):
            yield data[:at] + bytes(end - at) + data[end:]
        yield data[:at] + b"\xff" + data[at + 1 :] if data[at] != 255 else data[:at]
        yield data[:at]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_in_every_region_of_the_newest(checkpoints: Path, name: str, score: Score, tmp_path: Path) -> None:
    store = next(copies(checkpoints, tmp_path / "c"))
    file = store.folder / step_name(6) / name
    data = file.read_bytes()
    with score(f"{name} of the newest checkpoint damaged: named, with the newest complete one") as case:
        for damaged in damages(data, 100):
            file.write_bytes(damaged)
            try:
                store.read(store.folder / step_name(6))
                case.add(False, "read")
            except CheckpointError as error:
                right = f"{name} is damaged" in error.message and f"--resume {store.folder / step_name(4)} " in str(
                    error
                )
                case.add(right, str(error))
    file.write_bytes(data)
    assert store.fault(file.parent) is None


def test_damaged_pointers_by_byte(checkpoints: Path, score: Score, tmp_path: Path) -> None:
    store = next(copies(checkpoints, tmp_path / "c"))
    with score("every byte of `latest` and `best` with 52 values: the newest and the best are found") as case:
        for which, at, value in itertools.product(("latest", "best"), range(14), range(0, 256, 5)):
            for name, step in (("latest", 6), ("best", 2)):
                content = bytearray(step_name(step).encode() + b"\n")
                if name == which:
                    content[at] = value
                (store.folder / name).write_bytes(bytes(content))
            start = store.newest()
            assert start is not None
            store.settle(start)
            right = (store.pointer("latest"), store.pointer("best")) == (step_name(6), step_name(2))
            case.add(start.name == step_name(6) and right, f"{which}: byte {at} = {value}")


def test_damaged_environment_and_log(score: Score, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", keep=9)
    folder.begin(CONFIG, IDENTITY, {}, start=None)
    folder.store.write(4, made(4, best=4))
    start = folder.store.folder / step_name(4)
    intact = folder.environment_file.read_bytes()
    with score("environment.json damaged: the run begins, nothing is lost") as case:
        for damaged in damages(intact, 100):
            folder.environment_file.write_bytes(damaged)
            assert folder.find_start("auto", IDENTITY) == start
            folder.begin(CONFIG, IDENTITY, {}, start=start)
            launches = folder.read_environment()["launches"]
            aside = list(folder.path.glob("environment.damaged-*.json"))
            case.add(len(launches) == 2 or [a.read_bytes() for a in aside] == [damaged], repr(damaged[:60]))
            for path in aside:
                path.unlink()
    log = JsonLines(folder.log_file)
    for step in range(1, 31):
        log.log("train", step, {"loss": 1.0 / step})
    log.close()
    lines = folder.log_file.read_bytes()
    with score("log.jsonl damaged: the other lines stay as they are, every byte is kept") as case:
        for damaged in damages(lines, 300):
            folder.log_file.write_bytes(damaged)
            (folder.path / SET_ASIDE).unlink(missing_ok=True)
            for tracker in open_trackers(folder.path, "none", start=100):
                tracker.close()
            kept = folder.log_file.read_bytes()
            taken = (folder.path / SET_ASIDE).read_bytes() if (folder.path / SET_ASIDE).exists() else b""
            whole = set(damaged.split(b"\n")[:-1]) & set(lines.split(b"\n")) - {b""}
            moved = sorted(filter(None, (kept + taken).split(b"\n"))) == sorted(filter(None, damaged.split(b"\n")))
            good = len(read_log(folder.log_file)) == kept.count(b"\n")
            case.add(moved and good and whole <= set(kept.split(b"\n")), repr(damaged[:60]))


def test_status_and_export_beside_a_rotating_run(score: Score, tmp_path: Path) -> None:
    """A thread writes and deletes 80 checkpoints while both commands read; 500 reads each, or more."""
    folder = RunFolder(tmp_path / "run", keep=1)
    folder.begin(CONFIG, IDENTITY, {}, start=None)
    folder.store.write(1, made(1, best=1))
    stop, step = threading.Event(), 1

    def train() -> None:
        nonlocal step
        log = JsonLines(folder.log_file)
        while not stop.is_set():
            step += 1
            log.log("train", step, {"loss": 1.0 / step})
            folder.store.write(step, made(step, best=step - step % 3 if step > 2 else 1))

    thread = threading.Thread(target=train)
    thread.start()
    try:
        with score("status beside a rotating run") as case:
            while case.tried < 500 or step < 40:
                case.add(any(title == "checkpoints" and rows for title, _, rows in describe(folder.path)), "no rows")
        reader = CheckpointStore(folder.store.folder)
        with score("checkpoints read for an export beside a rotating run") as case:
            while case.tried < 500 or step < 80:
                path, checkpoint = reader.load(("latest", "best")[case.tried % 2], optimizer=False)
                case.add(path.name == step_name(checkpoint.state["state"]["step"]), path.name)
    finally:
        stop.set()
        thread.join()
