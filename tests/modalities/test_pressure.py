"""A modality of a plugin covers the whole pipeline: recording, shard, columns, batch, loss, a training step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eval.data.source import LabelledData
from eval.data.windows import load_windows, streams_of
from eval.protocols.limited_labels.config import Method
from eval.protocols.limited_labels.inputs import sides_of
from imu_video.cli import app as cli
from imu_video.errors import ConfigError
from imu_video.recordings.windows import WindowConfig
from imu_video.registry import load_plugin
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.folders.summary import facts
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.verify import verify
from pretrain.cli import main as pretrain_main
from pretrain.observe.trackers import read_log

PLUGIN = Path(__file__).parent / "pressure_plugin.py"
FRAMES, CELLS = 20, 6
CONFIG: dict[str, Any] = {
    "dataset": {"name": "insole_people", "people": 4},
    "window": {"seconds": 2.0, "stride_s": 0.5, "rate_hz": 50, "streams": {"pressure": {"fps": 10}}},
    "splits": {"subjects": {"train": ["p0", "p1", "p2"], "val": ["p3"]}},
    "shard_samples": 16,
}


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Run `imu-video` in this process."""
    monkeypatch.setattr(sys, "argv", ["imu-video", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, words


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pressure")
    config = root / "insole.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        command(patch, "build", config, root / "data", "--plugin", PLUGIN)
    return root / "data"


def test_shards_and_index(built: Path) -> None:
    index = load_index(built)
    raw = json.loads((built / "index.json").read_text())
    assert raw["streams"] == {"pressure": {"fps": 10.0, "frames": FRAMES, "cells": CELLS}}
    assert (raw["clip"], raw["skeleton"]) == (None, None)
    assert index.spec("pressure").shape == (FRAMES, CELLS)
    assert verify(index).problems == []
    samples = list(read_samples(index, "train", {"imu", "pressure"}))
    lacking = sum("pressure" not in sample.streams for sample in samples)
    assert (
        0
        < lacking
        == raw["build"]["without"]["pressure"]
        - sum("pressure" not in sample.streams for sample in read_samples(index, "val", {"pressure"}))
    )
    assert {s.streams["pressure"].shape for s in samples if "pressure" in s.streams} == {(FRAMES, CELLS)}
    assert ("pressure", "20 frames at 10 Hz") in facts(index).rows


def test_columns_and_batches(built: Path) -> None:
    columns = open_columns(load_index(built), "train")
    assert columns.streams["pressure"].shape == (len(columns), FRAMES, CELLS)
    loader = PairLoader(columns=columns, batch_size=8, seed=0, streams=["pressure"])
    batch = loader.batch(0)
    np.testing.assert_array_equal(batch.others["pressure"], columns.streams["pressure"][batch.meta.sample.numpy()])
    assert len(loader.usable) < len(columns)  # windows without pressure are not used
    with pytest.raises(ConfigError, match=r"window\.skeleton_fps"):
        PairLoader(columns=columns, batch_size=8, seed=0, streams=["skeleton"])


def test_commands_on_the_way(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    subjects = {"train": ["p4"], "val": ["p5"]}
    dataset = {"name": "insole_people", "people": 2, "first": 4}
    other.write_text(yaml.safe_dump({**CONFIG, "dataset": dataset, "splits": {"subjects": subjects}}))
    command(monkeypatch, "build", other, tmp_path / "other", "--plugin", PLUGIN, "--workers", 2)
    capsys.readouterr()
    command(monkeypatch, "inspect", built, "--plugin", PLUGIN)
    assert "pressure" in capsys.readouterr().out
    command(monkeypatch, "inspect", built, "--plugin", PLUGIN, "--html", tmp_path / "page.html", "--samples", 4)
    command(monkeypatch, "verify", built, "--plugin", PLUGIN)
    command(monkeypatch, "merge", built, tmp_path / "other", "--out", tmp_path / "both", "--plugin", PLUGIN)
    merged = load_index(tmp_path / "both")
    assert verify(merged).problems == []
    assert merged.streams == load_index(built).streams
    assert open_columns(merged, "val").streams["pressure"].shape[1:] == (FRAMES, CELLS)
    command(monkeypatch, "embed", built, "tiny", "modality=pressure", "dim=4", "--plugin", PLUGIN)
    (cache,) = (built / "teachers").glob("*/train.npy")
    rows = np.load(cache)
    held = open_columns(load_index(built), "train").streams["pressure"]
    np.testing.assert_array_equal(np.isfinite(rows).all(axis=1), np.isfinite(held).all(axis=(1, 2)))


def test_a_run_learns_from_it(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "name": "insole",
        "data": {"root": str(built), "batch_size": 8},
        "encoder": {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 16, "patch": 10, "stride": 10},
        "projector": {"dim": 8},
        "tower": "pressure_mlp",
        "loss": [{"name": "info_nce"}, {"name": "segment_alignment"}],
        "optim": {"steps": 3},
        "run": {"device": "cpu", "validate_every": 3, "log_every": 1, "threads": 1},
    }
    path = tmp_path / "insole.yaml"
    path.write_text(yaml.safe_dump(config))
    words = ["imu-pretrain", "launch", str(path), "--run", str(tmp_path / "run"), "--plugin", str(PLUGIN)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        pretrain_main()
    assert not stop.value.code
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
    assert all(np.isfinite(line["loss"]) for line in lines)
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["tower"] == {"name": "pressure_mlp", "cells": CELLS, "width": 8}

    words = ["imu-pretrain", "export", str(tmp_path / "run"), str(tmp_path / "encoder"), "--plugin", str(PLUGIN)]
    monkeypatch.setattr(sys, "argv", [*words, "--with-skeleton"])
    with pytest.raises(SystemExit) as stop:
        pretrain_main()
    assert stop.value.code, "this run trained no skeleton encoder"
    assert not (tmp_path / "encoder").exists()
    monkeypatch.setattr(sys, "argv", [*words, "--with-side", "pressure"])
    with pytest.raises(SystemExit) as stop:
        pretrain_main()
    assert not stop.value.code
    index = load_index(built)
    windows = load_windows(index, splits=["train", "val"])
    held = streams_of(windows, index, "pressure")
    assert held.shape == (len(windows), FRAMES, CELLS)
    (side,) = sides_of([tmp_path / "encoder"], windows, LabelledData(shards=index))
    assert side.tower is not None
    assert side.tower.modality == Method(name="joint", learn="all", along="pressure").along == "pressure"
    np.testing.assert_array_equal(np.isfinite(side.features).all(axis=1), np.isfinite(held).all(axis=(1, 2)))
    with pytest.raises(ConfigError, match=r"contains no skeleton stream.*\n.*window\.skeleton_fps"):
        streams_of(windows, index, "skeleton")


def test_without_the_plugin_the_folder_names_what_is_missing(built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "imu_video", "verify", str(built)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{built / 'index.json'}: unknown modality 'pressure'" in done.stderr
    assert "--plugin" in done.stderr


def test_keys_of_their_own_are_not_set_twice() -> None:
    load_plugin(PLUGIN)
    with pytest.raises(ConfigError, match=r"skeleton has keys of its own: window\.skeleton_fps"):
        WindowConfig(streams={"skeleton": {"fps": 5}})
    with pytest.raises(ConfigError, match="did you mean 'pressure'"):
        WindowConfig(streams={"presure": {"fps": 5}})
    assert "streams" not in WindowConfig(clip_fps=5).model_dump()
