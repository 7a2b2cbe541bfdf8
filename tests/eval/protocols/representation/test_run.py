"""Frozen representations: parts without leakage, figures equal to naive loops, finished fits that are not repeated."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from eval.data.windows import LabelledWindows
from eval.probes import probes
from eval.protocols.representation import run as module
from eval.protocols.representation.config import RepresentationConfig
from eval.protocols.representation.lines import measure
from eval.protocols.representation.parts import Parts, divide, remarks
from eval.protocols.representation.run import RepresentationRun
from eval.results.cells import CellStore
from eval.results.lines import Result, provenance
from eval.testing import check_protocol
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError

SPEC = types.SimpleNamespace(channels=("acc_x",), units={"acc_x": "m/s^2"}, rate_hz=32.0, mean=(0.0,), std=(1.0,))
OWN = {"name": "people", "probes": ["prototype", "knn"], "ks": [1, 2, 4], "references": {"untrained_seeds": []}}


class Encoder:
    """Stands for EncoderBundle: features tell the class, and are blurred by noise."""

    parts: ClassVar[dict[str, slice]] = {}
    spec, encoder_config = SPEC, {"name": "planted"}

    def __init__(self, lineage: dict[str, Any] | None = None) -> None:
        self.lineage = lineage or {}

    def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
        rng = np.random.default_rng(0)
        return (np.eye(4)[x[:, 0, 0].astype(int)] + 0.8 * rng.normal(size=(len(x), 4))).astype(np.float32)


def config_of(**keys: Any) -> RepresentationConfig:
    return validate({**OWN, **keys}, RepresentationConfig, source="test")


@pytest.fixture(scope="module")
def people(make: Callable[..., LabelledWindows]) -> LabelledWindows:
    """Six people in `train`, four in `test`; two recordings of each person and class."""
    w = make(people=10, placements=("wrist",))
    x = w.x.copy()
    x[:, 0, 0] = w.labels
    split = np.where(w.subject < "s06", "train", "test")
    return replace(w, x=x, facts={**w.facts, "split": split})


def outcomes(people: LabelledWindows, config: RepresentationConfig, folder: Path) -> tuple[Parts, list[module.Outcome]]:
    parts = divide(people, None, config)
    store = CellStore(folder)
    encoder: Any = Encoder()
    return parts, RepresentationRun(parts=parts, bundle=encoder, weights="w", config=config, store=store).run()


def lines(people: LabelledWindows, config: RepresentationConfig, folder: Path) -> list[Result]:
    parts, found = outcomes(people, config, folder)
    encoder = {"name": "enc", "weights": "w"}
    shared = provenance(encoder=encoder, data={"dataset": "made", "digest": "d"}, config=config)
    return measure(found, parts, config, shared, remarks=remarks({}, parts, config))


def test_figures_equal_naive_loops_over_subjects(people: LabelledWindows, tmp_path: Path) -> None:
    results = lines(people, config_of(), tmp_path)
    train, test = people.rows(splits=["train"]), people.rows(splits=["test"])
    features: Any = Encoder()
    x, y = features.encode(people.x[train]), people.labels[train]
    query, truth, subject = features.encode(people.x[test]), people.labels[test], people.subject[test]
    for name in ("prototype", "knn"):
        scores = probes.build(name).fit(x, y, classes=4).scores(query)
        hits = {k: [sum(s >= row[t] for s in row) <= k for row, t in zip(scores, truth, strict=True)] for k in (1, 2)}
        for k in (1, 2):
            per_person = [np.mean([h for h, s in zip(hits[k], subject, strict=True) if s == p]) for p in set(subject)]
            [line] = [
                r
                for r in results
                if (r.model, r.probe, r.metric) == ("pretrained", name, f"acc@{k}") and not r.reference
            ]
            assert line.value == pytest.approx(np.mean(per_person))
            assert line.details["over_windows"] == pytest.approx(np.mean(hits[k]), abs=1e-6)
            assert (line.subjects, line.setting, line.chance) == (4, "by subject", k / 4)
    metrics = {r.metric for r in results if r.model == "handcrafted"}
    assert metrics == {"acc@1", "acc@2", "balanced_accuracy", "macro_f1", "ece", "overconfidence"}
    assert "people: acc@4 is 1 by definition with 4 classes and is left out" in results[0].details["remarks"]
    differences = [r for r in results if r.reference == "handcrafted" and r.metric == "acc@1"]
    assert [r.probe for r in differences] == ["prototype", "knn"]
    assert all(r.details["comparisons"] == 2 and 0 < r.details["p_holm"] <= 1 for r in differences)


def test_lines_fulfil_the_contract_and_two_splits_are_two_tables(people: LabelledWindows, tmp_path: Path) -> None:
    from eval.protocol import protocols

    one = ["knn"]
    both = lines(people, config_of(probes=one), tmp_path)
    both += lines(people, config_of(probes=one, split="recording", draw=0.5, train={"split": "test"}), tmp_path)
    kind = protocols.get("representation")
    check_protocol(kind, both)
    assert len(kind.tables(both)) == 4, "figures and differences of each setting"
    said = kind.conclusions(both)
    assert any(s.startswith("people, by subject: a frozen encoder with `knn` reaches acc@1") for s in said)
    assert any(s.startswith("people, by recording") for s in said)
    assert any("share 4 of 4 test subjects" in m for r in both for m in r.details["remarks"])


def test_finished_fits_are_not_repeated(
    people: LabelledWindows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    _, first = outcomes(people, config_of(), tmp_path)
    assert "4 fits, 0 finished" in logged.lines[0]
    monkeypatch.setattr(module, "compute_features", None)
    _, again = outcomes(people, config_of(ks=[3]), tmp_path)
    assert all(np.array_equal(a.ranks, b.ranks) for a, b in zip(first, again, strict=True))
    with pytest.raises(TypeError):
        outcomes(people, config_of(classes=["activity0", "activity1"]), tmp_path)


def test_subjects_and_recordings_in_both_parts_are_refused(people: LabelledWindows) -> None:
    both = {"train": {"split": ["train", "test"], "where": {"device": "good"}}, "test": {"where": {"device": "cheap"}}}
    with pytest.raises(LeakageError, match=r"subjects \['s06', 's07', 's08', 's09'\] are in training and test"):
        divide(people, None, config_of(**both))
    parts = divide(people, None, config_of(**both, split="recording"))
    assert parts.shared("subject") == ["s06", "s07", "s08", "s09"]
    assert not parts.shared("recording")
    with pytest.raises(LeakageError, match="32 recordings"):
        divide(people, None, config_of(train={"split": "test"}, split="recording"))
    other = replace(people, dataset="elsewhere")
    assert not divide(people, other, config_of(train={"split": "test"})).shared("subject"), (
        "names of two datasets recur"
    )


def test_a_share_of_the_recordings_of_each_class_is_drawn(people: LabelledWindows) -> None:
    config = config_of(split="recording", draw=0.25, train={"split": "test"})
    parts = divide(people, None, config)
    recordings = {name: np.unique(getattr(parts, name).names("recording")) for name in ("train", "test")}
    assert not set(recordings["train"]) & set(recordings["test"])
    for c in range(4):
        inside = [sum(f"_c{c}_" in r for r in recordings[name]) for name in ("train", "test")]
        assert inside == [6, 2], "two of eight recordings of the class"
    again = divide(people, None, config)
    assert np.array_equal(parts.test.rows, again.test.rows)
    other = divide(people, None, config_of(**{**config.model_dump(), "seed": 1}))
    assert not np.array_equal(parts.test.rows, other.test.rows)
    single = replace(people, facts={**people.facts, "recording": np.char.add("c", people.labels.astype(str))})
    with pytest.raises(ConfigError, match="no class has two recordings"):
        divide(single, None, config)


def test_subjects_of_the_pretraining_are_refused_or_stated(people: LabelledWindows) -> None:
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s06"]}}, "config": {}}
    parts = divide(people, None, config_of())
    with pytest.raises(LeakageError, match="pretrained on 1 of the query subjects"):
        remarks(lineage, parts, config_of())
    [_, stated] = remarks(lineage, parts, config_of(pretraining_subjects="state"))
    assert "pretrained on 1 of the query subjects: made ['s06']" in stated


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"draw": 0.2}, "requires split: recording"),
        ({"ks": [1, 1]}, "ks must be distinct"),
        ({"probes": ["knn", "knn"]}, "distinct names"),
        ({"probes": []}, "probes"),
    ],
)
def test_impossible_configs_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**keys)


def test_parts_that_cannot_be_compared_are_refused(people: LabelledWindows) -> None:
    with pytest.raises(ConfigError, match="classes \\['jump'\\] are not in the data"):
        divide(people, None, config_of(classes=["jump", "activity0"]))
    few = replace(people, labels=np.where(people.facts["split"] == "train", 0, people.labels))
    with pytest.raises(ConfigError, match="one class, 'activity0'"):
        divide(few, None, config_of())
    lacking = replace(
        people, labels=np.where((people.facts["split"] == "train") & (people.labels == 3), 0, people.labels)
    )
    with pytest.raises(ConfigError, match=r"test classes \['activity3'\] have no training window"):
        divide(lacking, None, config_of())
    with pytest.raises(ConfigError, match="--train-data names a second"):
        divide(people, people, config_of(split="recording", draw=0.5))
