"""Permissions of everything that the commands write, under the umasks of private, group and open machines."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imu_video.config import shipped
from tests.faults.conftest import Score
from tests.faults.forks import Commands

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="forks and umask"),
]
BUILD = {
    "dataset": {
        "name": "synthetic",
        "groups": [{"prefix": "a", "count": 6, "seconds_per_activity": 8.0}],
        "activities": ["walk", "jumping_jacks", "sit"],
        "placements": ["waist", "left_wrist"],
    },
    "window": {"seconds": 2.0, "stride_s": 1.0, "rate_hz": 25, "skeleton_fps": 5},
    "splits": {"subjects": {"train": ["a00", "a01"], "val": ["a02", "a03"], "test": ["a04", "a05"]}},
}
SMALL = ["encoder.width=16", "encoder.layers=1", "encoder.heads=2", "encoder.ffn=32", "data.batch_size=16"]
SMALL += ["optim.steps=8", "run.device=cpu", "run.validate_every=4", "run.tracker=none"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    running = Commands(tmp_path_factory.mktemp("commands"))
    yield running
    running.close()


def written(given: Path, out: Path) -> list[list[object]]:
    """A command line for each way of writing to the disk."""
    data, run, encoder = out / "data", out / "run", out / "encoder"
    launch = ["imu-pretrain", "launch", shipped() / "pretrain" / "base.yaml", f"data.root={data}", *SMALL]
    config, splits, teacher = given / "build.yaml", given / "splits.yaml", given / "teacher.yaml"
    return [
        ["imu-video", "build", config, data],
        ["imu-video", "build", config, out / "parts", "--part", "1/2"],
        ["imu-video", "build", config, out / "parts", "--part", "2/2"],
        ["imu-video", "merge", out / "parts"],
        ["imu-video", "build", config, out / "parts", "shard_samples=7", "--force"],
        ["imu-video", "embed", data, teacher],
        ["imu-video", "embed", out / "parts", teacher, "--part", "1/1"],
        ["imu-video", "merge", out / "parts"],
        ["imu-video", "split", data, out / "again", splits],
        ["imu-video", "inspect", data, "--html", out / "pages" / "samples.html"],
        ["imu-video", "verify", data, "--repair"],
        ["imu-video", "export-bids", config, out / "bids", "--subject", "a00"],
        ["imu-video", "init", out / "study"],
        [*launch, "--run", run],
        [*launch, "--run", out / "two", "--nproc", "2"],
        ["imu-pretrain", "export", run, encoder],
        ["imu-pretrain", "export", run, encoder, "--force"],
        ["imu-eval", "fewshot", encoder, data, "--out", out / "results" / "results.jsonl"],
        ["imu-eval", "retrieval", encoder, data, "--out", out / "results" / "results.jsonl"],
        ["imu-eval", "report", out / "results" / "results.jsonl", out / "report"],
    ]


def wrong_modes(folder: Path, umask: int) -> list[str]:
    """Files and folders whose permissions `open` and `mkdir` would not have given."""
    wrong = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        wanted = (0o777 if stat.S_ISDIR(mode) else 0o666) & ~umask
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & 0o777 != wanted:
            wrong.append(f"{path.relative_to(folder)}: {stat.S_IMODE(mode):o}, expected {wanted:o}")
    return wrong


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_everything_written_has_the_permissions_of_the_umask(
    umask: int, commands: Commands, tmp_path: Path, score: Score
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    (given / "build.yaml").write_text(yaml.safe_dump(BUILD))
    (given / "splits.yaml").write_text(yaml.safe_dump({"subjects": {"train": ["a03"], "val": ["a01"]}}))
    (given / "teacher.yaml").write_text("name: tiny\nmodality: skeleton\n")
    before = os.umask(umask)
    (out / "study").mkdir(parents=True)
    (out / "pages").mkdir()
    rows = "".join(f"{i / 50:.2f},0.1,0.2,9.81\n" for i in range(500))
    (out / "study" / "anna.csv").write_text("time_s,acc_x,acc_y,acc_z\n" + rows)
    os.umask(before)
    with score(f"umask {umask:03o}: permissions of all files and folders of a command") as case:
        for line in written(given, out):
            done = commands.run(*line, umask=umask)  # type: ignore[arg-type]
            assert done.code == 0, done.err
            case.add(not wrong_modes(out, umask), f"{line[:2]}: {wrong_modes(out, umask)[:3]}")
