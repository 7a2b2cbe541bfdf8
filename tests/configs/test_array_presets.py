"""Shipped declarations of array folders: each one is valid, is what its first line says and has the published shape."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from eval.data.array_declaration import PRESETS, ArrayDeclaration, preset_names, read_declaration
from imu_video.config import find, validate

# Channels and classes of the released arrays (HAROOD, KDD 2026).
PUBLISHED = {
    "harood_cross_dataset_dsads": (6, 19),
    "harood_cross_dataset_pamap2": (6, 12),
    "harood_cross_dataset_ucihar": (6, 6),
    "harood_cross_dataset_uschad": (6, 12),
    "harood_dsads": (45, 19),
    "harood_dsads_position": (9, 19),
    "harood_emg": (8, 6),
    "harood_emg_time": (8, 6),
    "harood_pamap2": (27, 12),
    "harood_pamap2_position": (9, 12),
    "harood_ucihar": (6, 6),
    "harood_uschad": (6, 12),
    "harood_wesad": (8, 4),
}


def test_every_preset_is_known() -> None:
    assert preset_names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_preset_is_a_declaration(name: str) -> None:
    file = find(PRESETS / f"{name}.yaml")
    assert file.read_text(encoding="utf-8").splitlines()[0] == f"# preset: {name}"
    declared = read_declaration(file)
    assert (len(declared.channels), len(declared.classes)) == PUBLISHED[name]
    assert declared.normalised == "unknown"
    assert set(declared.channels.values()) == {"1"}


def test_declarations_of_the_guide_are_valid() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/guides/arrays.md").read_text(encoding="utf-8")
    preset, whole, views = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    assert preset["preset"] in PUBLISHED
    declared = validate(whole, ArrayDeclaration, source="guide")
    triad = {
        f"{place}.{name}": "1" for place in ("torso", "left_leg") for name in views["views"]["position"]["channels"]
    }
    both = {**whole, **views, "channels": triad, "normalised": "unknown", "facts": {}}
    assert list(validate(both, ArrayDeclaration, source="guide").views) == ["position"]
    assert {s for split in declared.splits.values() for s in split} == set(declared.values["subject"])
    named = set(re.findall(r"harood_\w+", page)) - {"harood_cnn", "harood_cross_dataset_dsads"}
    assert named <= {*PUBLISHED} | {"harood_cross_dataset"}


def test_the_views_of_dsads_are_positions_and_kinds_of_sensors() -> None:
    declared = read_declaration(find(PRESETS / "harood_dsads.yaml"))
    names = list(declared.channels)
    position, device = declared.views["position"], declared.views["device"]
    assert [rows[0] for rows in position.rows(names).values()] == [0, 9, 18, 27, 36]
    unit = [9 * u + axis for u in range(5) for axis in range(3)]
    assert list(device.rows(names).values()) == [[first + row for row in unit] for first in (0, 3, 6)]
