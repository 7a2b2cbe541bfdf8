"""Shipped encoders: the index, hashes of their files, and what the package really contains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imu_video import EncoderBundle, list_pretrained, load_encoder
from imu_video.bundle import pretrained
from imu_video.bundle.encoder import read_config
from imu_video.bundle.ship import MOST_BYTES, MOST_PARAMETERS, Facts, ship
from imu_video.errors import CheckpointError, ConfigError
from tests.bundle.shipped import FACTS, empty_index, ship_tiny, tiny

WINDOWS = np.random.default_rng(0).normal(9.8, 1, (2, 6, 100))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pretrained, "ROOT", empty_index(tmp_path / "shipped"))
    return tmp_path / "shipped"


@pytest.mark.parametrize("record", list_pretrained(), ids=lambda record: record.name)
def test_what_the_package_ships_is_as_stated(record: pretrained.PretrainedEncoder) -> None:
    folder = pretrained.shipped_folder(record.name)
    encoder = load_encoder(record.name)
    assert sorted(file.name for file in folder.iterdir()) == sorted(record.sha256)
    assert record.parameters == sum(p.numel() for p in encoder.encoder.parameters())
    assert record.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert record.feature_dim == encoder.feature_dim
    assert record.parameters <= MOST_PARAMETERS.get(record.name, record.parameters)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert record.sources
    for source in record.sources:
        assert source.url in card
    assert np.isfinite(encoder.encode(WINDOWS, rate_hz=50)).all()


def test_the_package_ships_at_most_six_megabytes_and_nothing_else() -> None:
    records = list_pretrained()
    assert sum(record.size_bytes for record in records) <= MOST_BYTES
    listed = {record.name.partition("/")[2] for record in records}
    assert {path.name for path in pretrained.ROOT.iterdir() if path.is_dir()} == listed


def test_a_shipped_name_loads_offline(root: Path) -> None:
    encoder = tiny()
    record = ship_tiny(root, encoder=encoder)
    assert list_pretrained() == [record]
    assert list_pretrained(root) == [record]
    for name in ("imu-video/small", Path("imu-video/small")):
        loaded = load_encoder(name)
        np.testing.assert_array_equal(loaded.encode(WINDOWS, rate_hz=50), encoder.encode(WINDOWS, rate_hz=50))
        assert not loaded.training
    assert loaded.lineage["sources"] == FACTS["sources"]
    assert loaded.lineage["licences"]["weights"] == "Apache-2.0"
    assert read_config("imu-video/small")["parameters"] == record.parameters
    with pytest.raises(ConfigError, match="an encoder of the package has no revisions"):
        load_encoder("imu-video/small", revision="main")


def test_records_print_as_one_line(root: Path) -> None:
    line = str(ship_tiny(root))
    assert line.startswith("imu-video/small: ")
    assert line.endswith("Apache-2.0. An encoder of a test.")
    assert "\n" not in line


def test_an_unknown_shipped_name_lists_what_there_is(root: Path) -> None:
    with pytest.raises(CheckpointError, match="this version ships no encoders"):
        load_encoder("imu-video/small")
    ship_tiny(root)
    with pytest.raises(CheckpointError, match=r"'imu-video/small'\?; shipped are imu-video/small") as caught:
        load_encoder("imu-video/smal")
    assert "imu-video list pretrained" in str(caught.value.hint)


def test_a_local_folder_of_a_shipped_name_is_refused_as_ambiguous(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship_tiny(root)
    other = tiny(window_s=4.0)
    monkeypatch.chdir(tmp_path)
    folder = other.save("imu-video/small").absolute()
    with pytest.raises(ConfigError, match="both a local folder and the name of an encoder") as caught:
        load_encoder("imu-video/small")
    assert str(folder) in str(caught.value.hint)
    assert load_encoder(folder).spec.window_s == 4.0, "the hint works"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "README.md"])
def test_changed_or_missing_files_are_refused(root: Path, file: str) -> None:
    ship_tiny(root)
    path = root / "small" / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=r"sha256 is [0-9a-f]{12}, index.json expects") as caught:
        load_encoder("imu-video/small")
    assert "pip install" in str(caught.value.hint)
    path.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        load_encoder("imu-video/small")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"encoders": [{"name": "imu-video/small"}]}, "encoders"),
        ({"encoders": "none"}, "encoders"),
    ],
)
def test_a_damaged_index_is_refused(root: Path, change: dict[str, object], message: str) -> None:
    index = json.loads((root / "index.json").read_text())
    (root / "index.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(CheckpointError, match=message):
        list_pretrained()
    (root / "index.json").unlink()
    with pytest.raises(CheckpointError, match=r"index\.json"):
        list_pretrained()


def test_names_are_unique(root: Path) -> None:
    ship_tiny(root)
    index = json.loads((root / "index.json").read_text())
    index["encoders"] *= 2
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="a name twice"):
        list_pretrained()


def test_listing_needs_no_torch() -> None:
    code = "import sys, imu_video; imu_video.list_pretrained(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_shipping_replaces_and_sorts(root: Path) -> None:
    wide = EncoderBundle(spec=tiny().spec, encoder={"name": "resnet1d", "width": 8, "blocks": (1,)})
    ship_tiny(root, "imu-video/base", encoder=wide)
    first = ship_tiny(root)
    assert [one.name for one in list_pretrained()] == ["imu-video/small", "imu-video/base"], "by parameters"
    again = tiny()
    folder = again.save(root.parent / "again")
    second = ship(folder, Facts(name="imu-video/small", **{**FACTS, "summary": "Another."}), root=root)
    assert second.sha256 != first.sha256
    assert [one.summary for one in list_pretrained()] == ["Another.", "An encoder of a test."]
    card = (root / "small" / "README.md").read_text()
    assert 'load_encoder("imu-video/small")' in card
    assert "| a simulation | CC0-1.0 | https://example.org/world |" in card


def test_shipping_refuses_local_paths_and_large_encoders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny().save(root.parent / "local", lineage={"config": {"data.root": "/srv/data/x"}})
    facts = Facts(name="imu-video/small", **FACTS)
    with pytest.raises(ConfigError, match=r"lineage.config.data.root is the path '/srv/data/x'"):
        ship(folder, facts, root=root)
    with pytest.raises(ConfigError, match=r"no file 'head\.safetensors'"):
        ship(tiny().save(root.parent / "e"), facts.model_copy(update={"files": ("head.safetensors",)}), root=root)
    monkeypatch.setattr("imu_video.bundle.ship.MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="shipped encoders would have"):
        ship_tiny(root)
    assert list_pretrained() == []
    assert [path.name for path in root.iterdir()] == ["index.json"], "nothing half-written"


def test_the_card_shows_evaluation_and_limits(root: Path) -> None:
    page = "https://example.org/results"
    facts = Facts(name="imu-video/small", **FACTS, evaluation=page, limits=("Not tested at the ankle.",))
    ship(tiny().save(root.parent / "exported", lineage={"run_id": "none"}), facts, root=root)
    card = (root / "small" / "README.md").read_text(encoding="utf-8")
    assert card.index("## Evaluation") < card.index(page) < card.index("## Limits")
    assert card.index("## Limits") < card.index("Not tested at the ankle") < card.index("## Lineage")
    assert page not in card[card.index("## Lineage") :]
