"""Every shipped label map names labels that the adapters give, and brings its datasets together."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from eval.data.labelmaps import adapter_labels, load_label_maps

ROOT = Path(__file__).resolve().parents[2]
MAPS = sorted((ROOT / "configs" / "eval" / "label_maps").glob("*.yaml"))


@pytest.mark.parametrize("path", MAPS, ids=lambda p: p.stem)
def test_maps_name_labels_of_their_adapters(path: Path) -> None:
    maps = load_label_maps(path)
    for dataset, own in maps.items():
        assert set(own) <= set(adapter_labels(dataset)), dataset
    for one, other in itertools.combinations(maps, 2):
        assert len(set(maps[one].values()) & set(maps[other].values())) >= 2, (one, other)


def test_pairs_that_are_named_meet_in_these_classes() -> None:
    maps = load_label_maps("configs/eval/label_maps/locomotion.yaml")
    shared = {other: sorted(set(maps["hapt"].values()) & set(maps[other].values())) for other in maps}
    assert shared["umafall"] == ["downstairs", "upstairs", "walking"]
    assert shared["motionsense"] == ["downstairs", "sitting", "standing", "upstairs", "walking"]
    assert shared["pamap2"] == shared["ucihar"] == sorted(maps["hapt"].values())


def test_names_of_the_encoder_study_cover_every_label() -> None:
    """Classes keep their number: a name that two labels share would make zero-shot recognition easier."""
    maps = load_label_maps(ROOT / "studies/encoder/names.yaml")
    for dataset, own in maps.items():
        declared = set(adapter_labels(dataset))
        assert set(own) == declared or not declared, dataset
        assert len(set(own.values())) == len(own), dataset
    shared = set(maps["utd_mhad"].values()) & set(maps["berkeley_mhad"].values())
    assert {"boxing", "clapping hands", "sitting down", "standing up", "throwing"} <= shared
