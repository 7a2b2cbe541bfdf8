"""Links and files that another user planted at every predictable name: nothing is written through them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from imu_video.config import shipped
from tests.faults.conftest import Score
from tests.faults.forks import Commands
from tests.faults.test_permissions import BUILD, SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    running = Commands(tmp_path_factory.mktemp("commands"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def made(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with configs, a data folder, a run and an encoder."""
    root = tmp_path_factory.mktemp("made")
    (root / "build.yaml").write_text(yaml.safe_dump(BUILD))
    (root / "splits.yaml").write_text(yaml.safe_dump({"subjects": {"train": ["a03"], "val": ["a01"]}}))
    (root / "teacher.yaml").write_text("name: tiny\nmodality: skeleton\n")
    for line in (
        ["imu-video", "build", root / "build.yaml", root / "data"],
        ["imu-video", "embed", root / "data", root / "teacher.yaml"],
        ["imu-pretrain", "launch", BASE, f"data.root={root / 'data'}", *SMALL, "--run", root / "run"],
        ["imu-pretrain", "export", root / "run", root / "encoder"],
    ):
        done = commands.run(*line)  # type: ignore[arg-type]
        assert done.code == 0, done.err
    return root


BASE = shipped() / "pretrain" / "base.yaml"
Line = Callable[[Path, Path], list[object]]
CASES: dict[str, tuple[Line, tuple[str, ...]]] = {
    "build": (
        lambda made, out: ["imu-video", "build", made / "build.yaml", out / "x"],
        ("x", "x.partial", "x.partial/lock", "x.partial/job.json"),
    ),
    "build, again": (
        lambda made, out: ["imu-video", "build", made / "build.yaml", out / "x", "--force"],
        ("x", "x.partial", "x.partial/lock"),
    ),
    "part": (
        lambda made, out: ["imu-video", "build", made / "build.yaml", out / "x", "--part", "1/2"],
        ("x.parts", "x.parts/1-of-2", "x.parts/1-of-2/lock"),
    ),
    "split": (
        lambda made, out: ["imu-video", "split", made / "data", out / "x", made / "splits.yaml"],
        ("x", "x.partial"),
    ),
    "export-bids": (
        lambda made, out: ["imu-video", "export-bids", made / "build.yaml", out / "x", "--subject", "a00"],
        ("x",),
    ),
    "launch": (
        lambda made, out: ["imu-pretrain", "launch", BASE, f"data.root={made / 'data'}", *SMALL, "--run", out / "x"],
        ("x/.lock", "x/environment.json", "x/config.yaml", "x/log.jsonl", "x/checkpoints", "x/checkpoints/latest"),
    ),
    "export": (lambda made, out: ["imu-pretrain", "export", made / "run", out / "x"], ("x",)),
    "export, again": (lambda made, out: ["imu-pretrain", "export", made / "run", out / "x", "--force"], ("x",)),
    "page": (
        lambda made, out: ["imu-video", "inspect", made / "data", "--html", out / "x.html"],
        ("x.html",),
    ),
    "report": (
        lambda made, out: ["imu-eval", "report", made / "results.jsonl", out / "x"],
        ("x/report.md", "x/report.html"),
    ),
}


def state(folder: Path) -> dict[str, bytes | None]:
    """Names and contents below a folder."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_written_through_a_planted_link(
    name: str, commands: Commands, made: Path, tmp_path: Path, score: Score
) -> None:
    line, planted = CASES[name]
    if name == "report" and not (made / "results.jsonl").exists():
        done = commands.run("imu-eval", "fewshot", made / "encoder", made / "data", "--out", made / "results.jsonl")
        assert done.code == 0, done.err
    with score(f"planted link at a predictable name of `{name}`: the victim is unchanged") as case:
        for place in planted:
            for kind in ("file", "folder", "empty folder", "nowhere"):
                root = tmp_path / f"{place.replace('/', '-')}-{kind.replace(' ', '-')}"
                out, victim = root / "out", root / "victim"
                out.mkdir(parents=True)
                victim.mkdir()
                (victim / "file").write_text("mine")
                (victim / "folder").mkdir()
                (victim / "folder" / "thesis.tex").write_text("mine")
                (victim / "empty folder").mkdir()
                before = state(victim)
                (out / place).parent.mkdir(parents=True, exist_ok=True)
                (out / place).symlink_to(victim / kind)
                done = commands.run(*line(made, out))  # type: ignore[arg-type]
                right = state(victim) == before and not done.traceback and done.code in (0, 2, 3, 4)
                case.add(
                    right, f"{place} -> {kind}: code {done.code}, {set(state(victim)) - set(before)} {done.err[-300:]}"
                )
