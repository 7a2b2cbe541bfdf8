"""Source-label transfer: label maps, who may be asked, what is left out, controls at chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.data.labelmaps import load_label_maps, map_labels, rename_labels
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.common import lines
from eval.protocols.zeroshot.sections import form_of, run_tables
from eval.protocols.zeroshot.source import run_source
from eval.results.lines import CALIBRATION, Result
from eval.results.store import append_results, read_results
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError

MAPS = {
    "made": {"activity0": "lie", "activity1": "walk", "activity2": "run"},
    "other": {"zero": "lie", "one": "walk", "two": "run", "four": "hop"},
}


@pytest.fixture(scope="module")
def source(paired: LabelledWindows) -> LabelledWindows:
    """The same made-up signals under other names, as another dataset would have them."""
    return replace(paired, dataset="other", digest="1" * 12, classes=("zero", "one", "two", "four"))


def config(**changes: object) -> EvalConfig:
    raw = {"probes": ["prototype", "ridge"], "references": {"untrained_seeds": []}}
    return validate({**raw, **changes}, EvalConfig, source="test")


def run(target: LabelledWindows, source: LabelledWindows, student: Any, maps: Any = MAPS, **changes: Any) -> list[Any]:
    return run_source(target, source, student, maps, config(**changes), {})


def headline(results: list[Result]) -> dict[tuple[str, str], Result]:
    return {(r.model, str(r.probe)): r for r in results if r.metric == "balanced_accuracy"}


def test_labels_of_another_set_serve_under_common_names(
    paired: LabelledWindows, source: LabelledWindows, pair: Any
) -> None:
    found = headline(run(paired, source, pair().student))
    assert set(found) == {(m, p) for m in ("pretrained", "handcrafted") for p in ("prototype", "ridge")}
    result = found["pretrained", "ridge"]
    assert result.value == 1.0
    assert (form_of(result), result.chance, result.subjects) == ("source", pytest.approx(1 / 3), 7)
    assert result.details["classes"] == ["lie", "run", "walk"]
    assert result.details["labels_from"] == "other: train"
    asked = int((paired.facts["split"] == "test").sum())
    assert result.details["left_out"]["target"] == {"activity3": asked // 4}, "not in the map"
    assert set(result.details["left_out"]["source"]) == {"four"}, "mapped, but the target has no such class"
    assert result.details["source"]["digest"] == "1" * 12


def test_without_a_map_labels_are_compared_as_spelled(paired: LabelledWindows, pair: Any) -> None:
    other = replace(paired, dataset="other")
    assert headline(run(paired, other, pair().student, None))["pretrained", "ridge"].chance == 0.25
    with pytest.raises(ConfigError, match="both sides have"):
        run(paired, replace(other, classes=("a", "b", "c", "d")), pair().student, None)


def test_probes_that_state_probabilities_are_asked_whether_they_earn_them(
    paired: LabelledWindows, source: LabelledWindows, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`logreg` has two lines more, equal to a loop over people and bins; `ridge` states nothing."""
    asked: list[Any] = []
    monkeypatch.setattr(
        "eval.protocols.zeroshot.source.lines", lambda *a, **k: (asked.append((a, k)), lines(*a, **k))[1]
    )
    options = {"probes": ["ridge", "logreg"], "references": {"untrained_seeds": [], "handcrafted": False}}
    results = [r for r in run(paired, source, pair(noise=0.6).student, **options) if r.metric in CALIBRATION]
    assert [(r.probe, r.metric) for r in results] == [("logreg", "ece"), ("logreg", "overconfidence")]
    ((_, query, (answer,)), _) = next(call for call in asked if call[1]["probe"] == "logreg")
    subjects, over, table = sorted(set(query.windows.subject)), [], np.zeros((15, 3))
    for s in subjects:
        own = np.flatnonzero(query.windows.subject == s)
        stated, right = answer.confidence[own], (answer.predicted == query.truth)[own]
        over.append(float(np.mean(stated) - np.mean(right)))
        for p, hit in zip(stated, right, strict=True):
            b = next(b for b in range(15) if p <= (b + 1) / 15)
            table[b] += np.array([1, p, hit]) / len(own) / len(subjects)
    error, mean = results
    assert error.value == pytest.approx(np.abs(table[:, 1] - table[:, 2]).sum())
    assert mean.value == pytest.approx(np.mean(over))
    assert error.details["bins"] == pytest.approx(table, abs=1e-5)
    assert (error.low, form_of(error), error.subjects) == (None, "source", len(subjects))
    assert mean.low is not None
    table = run_tables(results)[-1]
    rows = table.rows
    assert rows == [["people", "other: train", "logreg", "pretrained", *rows[0][4:]]]
    assert "ECE" in table.caption
    assert len(table.columns) == len(rows[0])


def test_permuted_windows_and_shuffled_labels_are_at_chance(
    paired: LabelledWindows, source: LabelledWindows, pair: Any
) -> None:
    permuted = headline(run(paired, source, pair(permuted=True).student))["pretrained", "ridge"]
    assert permuted.value == pytest.approx(1 / 3, abs=0.1)
    shuffled = []
    for seed in range(8):
        wrong = replace(source, labels=np.random.default_rng(seed).permutation(source.labels))
        shuffled.append(headline(run(paired, wrong, pair().student)))
    mean = np.mean([found["pretrained", "prototype"].value for found in shuffled])
    assert mean == pytest.approx(1 / 3, abs=0.15), "single shuffles still tie whole clusters to classes"


def test_labelled_windows_are_capped(paired: LabelledWindows, source: LabelledWindows, pair: Any) -> None:
    result = headline(run(paired, source, pair().student, zeroshot={"per_class": 5}))["pretrained", "ridge"]
    assert result.details["labelled"] == {"lie": 5, "run": 5, "walk": 5}


def test_nobody_gives_labels_and_is_asked(paired: LabelledWindows, source: LabelledWindows, pair: Any) -> None:
    with pytest.raises(LeakageError, match="provide source labels and are query subjects"):
        run(paired, paired, pair().student, None, zeroshot={"support": {"split": "test"}})
    run(paired, source, pair().student, zeroshot={"support": {"split": "test"}})  # other people of the same names
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}}
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run(paired, source, pair(lineage=lineage).student)


def test_mistakes_in_maps_are_named(
    paired: LabelledWindows, source: LabelledWindows, pair: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no dataset 'other'"):
        run(paired, source, pair().student, {"made": MAPS["made"]})
    with pytest.raises(ConfigError, match="no label 'activity7'"):
        run(paired, source, pair().student, {**MAPS, "made": {"activity7": "walk"}})
    (tmp_path / "map.yaml").write_text("hapt: [walking]\n")
    with pytest.raises(ConfigError, match=r"map\.yaml"):
        load_label_maps(tmp_path / "map.yaml")


def test_renamed_windows_keep_their_rows_and_mapped_ones_lose_the_unnamed(paired: LabelledWindows) -> None:
    named = rename_labels(paired, {"made": MAPS["made"]})
    assert len(named) == len(paired)
    assert named.classes == ("", "lie", "run", "walk")
    old, new = np.array(paired.classes)[paired.labels], np.array(named.classes)[named.labels]
    assert all(MAPS["made"].get(a, "") == b for a, b in zip(old.tolist(), new.tolist(), strict=True))
    kept = map_labels(paired, {"made": MAPS["made"]})
    assert kept.classes == ("lie", "run", "walk")
    assert np.bincount(kept.labels).tolist() == [len(paired) // 4] * 3


def test_forms_and_origins_never_replace_each_other(
    paired: LabelledWindows, source: LabelledWindows, pair: Any, tmp_path: Path
) -> None:
    one = run(paired, source, pair().student)
    two = run(paired, replace(source, dataset="third"), pair().student, {**MAPS, "third": MAPS["other"]})
    as_teacher = [r.model_copy(update={"details": {**r.details, "form": "teacher"}}) for r in one]
    append_results(tmp_path / "r.jsonl", [*one, *two, *as_teacher, *one])
    results, replaced = read_results([tmp_path / "r.jsonl"])
    assert (len(results), replaced) == (3 * len(one), len(one))
