"""From a run to an encoder folder: what is in it, that it is the student, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.config import validate
from imu_video.errors import CheckpointError, ParityError, ShardError
from imu_video.models.projectors import load_pair_model
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.export import export, restore_task
from pretrain.observe.status import describe
from pretrain.run import run

Raw = Callable[..., dict[str, Any]]
TEN: dict[str, Any] = {"optim": {"steps": 10}, "run": {"keep": 9}}


@pytest.fixture(scope="module")
def trained(data: Index, raw: Raw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 10 steps with checkpoints of steps 4, 8 and 10."""
    folder = tmp_path_factory.mktemp("export") / "run"
    run(validate(raw(data.root, **TEN), PretrainConfig, source="test"), folder=folder)
    return folder


def test_the_folder_is_the_student(trained: Path, data: Index, tmp_path: Path) -> None:
    done = export(trained, tmp_path / "encoder", checkpoint="latest")
    assert (done.step, done.windows, done.difference) == (10, 118, 0.0)
    encoder = load_encoder(tmp_path / "encoder")
    store = CheckpointStore(trained / "checkpoints")
    checkpoint = store.read(store.resolve("latest"))
    for name, value in encoder.encoder.state_dict().items():
        assert torch.equal(value, checkpoint.model[f"model.student.encoder.{name}"])
    columns = open_columns(data, "val")
    features = encoder.encode(columns.select("waist"), rate_hz=columns.rate_hz)
    assert features.shape == (64, encoder.feature_dim)
    assert np.isfinite(features).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder"]  # no drafts left behind


def test_lineage_tells_where_it_comes_from(trained: Path, data: Index, tmp_path: Path) -> None:
    export(trained, tmp_path / "encoder", checkpoint="4")
    lineage = json.loads((tmp_path / "encoder" / "config.json").read_text())["lineage"]
    assert lineage["steps"] == 4
    assert lineage["run_id"] == json.loads((trained / "environment.json").read_text())["run_id"]
    assert lineage["dataset"]["digest"] == data.digest
    assert set(lineage["dataset"]["subjects"]) == {"train", "val"}
    assert lineage["teacher"]["fingerprint"] == "feedfacecafe"
    assert lineage["licences"] == {"recordings": "CC0-1.0", "teacher": "CC0-1.0"}
    assert lineage["config"]["optim.lr"] == 3e-3
    assert "CC0-1.0" in (tmp_path / "encoder" / "README.md").read_text()


def test_a_control_says_so(trained: Path, data: Index, raw: Raw, tmp_path: Path, logged: Any) -> None:
    config = raw(data.root, data={"control": "permuted_pairs"}, optim={"steps": 1})
    run(validate(config, PretrainConfig, source="test"), folder=tmp_path / "run")
    assert any("a control: permuted_pairs" in line for line in logged.lines)
    assert "control: permuted_pairs" in (tmp_path / "run" / "config.yaml").read_text()
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["identity"]["data.control"]
    export(tmp_path / "run", tmp_path / "control")
    export(trained, tmp_path / "encoder")
    assert load_encoder(tmp_path / "control").lineage["control"] == "permuted_pairs"
    assert "Not for use: a control (`permuted_pairs`)" in (tmp_path / "control" / "README.md").read_text()
    lineage = load_encoder(tmp_path / "encoder").lineage
    assert "control" not in lineage
    assert "data.control" not in lineage["config"]  # as in runs from before there was a control: they can be continued
    assert "control" not in (tmp_path / "encoder" / "README.md").read_text()


def test_projectors_travel_along(trained: Path, data: Index, raw: Raw, tmp_path: Path) -> None:
    export(trained, tmp_path / "encoder", checkpoint="latest")
    model, facts = load_pair_model(tmp_path / "encoder")
    assert (facts.teacher, facts.teacher_dim, facts.dim) == ("feedfacecafe", 12, 16)
    store = CheckpointStore(trained / "checkpoints")
    config = validate(raw(data.root, **TEN), PretrainConfig, source="test")
    task = restore_task(config, store.read(store.resolve("latest"))).eval()
    teacher = torch.randn(5, 12)
    torch.testing.assert_close(model.embed_teacher(teacher), task.model.embed_teacher(teacher))


def test_the_best_is_the_default_and_the_latest_where_nothing_was_validated(
    trained: Path, data: Index, raw: Raw, tmp_path: Path
) -> None:
    best = CheckpointStore(trained / "checkpoints").pointer("best")
    assert f"step-{export(trained, tmp_path / 'a').step:08d}" == best
    config = raw(data.root, data={"val_split": None}, optim={"steps": 3})
    run(validate(config, PretrainConfig, source="test"), folder=tmp_path / "run")
    done = export(tmp_path / "run", tmp_path / "b")
    assert (done.step, done.windows) == (3, 256)


def test_an_encoder_that_reads_back_differently_is_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EncoderBundle.forward
    calls = iter(range(10**6))

    def drifting(self: EncoderBundle, *arguments: Any) -> torch.Tensor:
        return real(self, *arguments) + 1e-5 * next(calls)

    monkeypatch.setattr(EncoderBundle, "forward", drifting)
    with pytest.raises(ParityError, match="differs from the student") as caught:
        export(trained, tmp_path / "encoder")
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_moved_data_must_be_named_and_be_the_same(
    trained: Path, data: Index, data_maker: Callable[[Path, Mapping[str, int]], Index], tmp_path: Path
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(trained, moved)
    file = moved / "config.yaml"
    file.write_text(file.read_text().replace(str(data.root), str(tmp_path / "gone")))
    with pytest.raises(ShardError, match="no such folder"):
        export(moved, tmp_path / "encoder")
    other = data_maker(tmp_path / "other", {"train": 8, "val": 8})
    with pytest.raises(ShardError, match="the run was trained on"):
        export(moved, tmp_path / "encoder", data=other.root)
    export(moved, tmp_path / "encoder", data=data.root)


def test_what_is_there_is_not_overwritten(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "encoder", checkpoint="4")
    with pytest.raises(CheckpointError, match="already contains an encoder"):
        export(trained, tmp_path / "encoder", checkpoint="8")
    assert export(trained, tmp_path / "encoder", checkpoint="8", force=True).step == 8
    with pytest.raises(CheckpointError, match="no checkpoint '3'") as caught:
        export(trained, tmp_path / "x", checkpoint="3")
    assert caught.value.hint == "--checkpoint 10 is complete"
    with pytest.raises(CheckpointError, match="not a run folder"):
        export(tmp_path, tmp_path / "x")


def test_a_lost_config_best_or_pointer_is_no_obstacle(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "run")
    best = CheckpointStore(copy / "checkpoints").resolve("best")
    for lost in (copy / "config.yaml", copy / "checkpoints" / "best", copy / "checkpoints" / "latest"):
        lost.unlink()
    assert f"step-{export(copy, tmp_path / 'encoder').step:08d}" == best.name
    assert describe(copy)
    shutil.rmtree(best)
    with pytest.raises(CheckpointError, match="whose folder is gone"):
        export(copy, tmp_path / "other")


def test_status_shows_numbers_and_checkpoints(trained: Path) -> None:
    tables = {title: rows for title, _, rows in describe(trained)}
    assert {"train, step 10", "validate, step 10", "checkpoints"} == set(tables)
    names = [row[0] for row in tables["checkpoints"]]
    assert names == sorted(names)
    assert "latest" in tables["checkpoints"][-1][1]
