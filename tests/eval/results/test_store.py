"""Result files: nothing is lost, the latest counts, damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.results.counts import Counts, load_bins, load_counts, load_support, save_counts
from eval.results.intervals import Intervals, equal_subjects, with_tests
from eval.results.lines import Result
from eval.results.store import append_results, read_results
from imu_video.errors import DataError
from imu_video.metrics.calibration import expected_calibration_error
from imu_video.metrics.inference import estimate
from imu_video.metrics.significance import detectable, holm


def result(**changes: object) -> Result:
    base = {
        "kind": "fewshot",
        "metric": "accuracy",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "model": "pretrained",
        "probe": "ridge",
        "domain": "people",
        "shots": 1,
        "subjects": 4,
        "episodes": 10,
    }
    return Result.model_validate({**base, **changes})


def test_lines_are_appended_and_the_latest_counts(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "r.jsonl"
    assert append_results(path, [result(), result(shots=5)]) == 2
    append_results(path, [result(value=0.7)])
    read, replaced = read_results([path])
    assert replaced == 1
    assert {(r.shots, r.value) for r in read} == {(1, 0.7), (5, 0.5)}


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append_results(path, [result()])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    append_results(path, [result(shots=5)])
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    with pytest.raises(DataError, match=r"r\.jsonl, line 2: not a result"):
        read_results([path])
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert len(read_results([path])[0]) == 2


def test_missing_and_empty_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="imu-eval fewshot"):
        read_results([tmp_path / "none.jsonl"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no results"):
        read_results([tmp_path / "empty.jsonl"])


def test_unknown_keys_and_non_finite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        result(valeu=1)
    with pytest.raises(ValueError, match="finite"):
        result(value=float("nan"))


def test_counts_survive_the_round_trip(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 300, size=(2, 3, 4, 5, 5))
    c = Counts(
        model="untrained",
        probe="ridge",
        domain="a=b/c",
        setting="within",
        shots=5,
        classes=tuple("vwxyz"),
        subjects=tuple("abcd"),
        counts=array,
        seeds=(0, 1),
    )
    save_counts(tmp_path / "cells" / "x.npz", [c])
    back, names = load_counts(f"cells/x.npz::{c.key}", tmp_path)
    assert np.array_equal(back, array)
    assert names == {"classes": list("vwxyz"), "subjects": list("abcd"), "seeds": [0, 1]}
    assert [p.name for p in (tmp_path / "cells").iterdir()] == ["x.npz"]
    with pytest.raises(DataError, match="cannot read counts 'nothing'"):
        load_counts("cells/x.npz::nothing", tmp_path)


def test_reliability_bins_lie_beside_the_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bins = rng.integers(1, 9, size=(1, 2, 3, 15, 3)).astype(np.float32)
    facts = {"model": "pretrained", "domain": "d", "setting": "within", "shots": 1, "classes": ("a", "b")}
    counts = np.ones((1, 2, 3, 2, 2), dtype=np.int64)
    with_bins = Counts(probe="logreg", subjects=tuple("xyz"), counts=counts, bins=bins, **facts)  # type: ignore[arg-type]
    without = Counts(probe="ridge", subjects=tuple("xyz"), counts=counts, **facts)  # type: ignore[arg-type]
    save_counts(tmp_path / "x.npz", [with_bins, without])
    assert np.array_equal(load_bins(f"x.npz::{with_bins.key}", tmp_path), bins)
    assert load_bins(f"x.npz::{without.key}", tmp_path) is None
    assert load_support(f"x.npz::{without.key}", tmp_path) is None
    with pytest.raises(DataError, match=r"none\.npz: cannot be read"):
        load_bins("none.npz::d", tmp_path)


def test_everybody_weighs_the_same_in_a_reliability_diagram() -> None:
    bins = np.zeros((1, 2, 3, 2, 3))
    bins[0, 0, 0] = [[0, 0, 0], [10, 9, 5]]  # certain to 0.9, right in half
    bins[0, :, 1] = [[0, 0, 0], [1000, 900, 900]]  # many windows, calibrated
    alike = equal_subjects(bins)  # the third person was never asked
    assert alike[0, :, 0].sum() == pytest.approx(1.0)
    assert float(expected_calibration_error(alike)[0]) == pytest.approx(0.5 * abs(0.5 - 0.9))


def test_differences_carry_corrected_p_and_what_they_could_have_found() -> None:
    rng = np.random.default_rng(0)
    people = [estimate(rng.normal(m, 0.1, (1, 1, 8))) for m in (0.3, 0.02, 0.0)]
    lines = with_tests([result(kind="fewshot-difference", details={"a": 1})] * 3, people, Intervals(level=0.9))
    p = holm(np.array([e.p for e in people], dtype=float))
    assert [r.details["p_holm"] for r in lines] == pytest.approx(p.tolist())
    assert lines[1].details["minimum_detectable"] == pytest.approx(detectable(people[1], level=0.9, comparisons=3))
    low, high = lines[1].details["simultaneous"]
    assert (low, high) == pytest.approx(people[1].interval(1 - 0.1 / 3))
    assert all(r.details["comparisons"] == 3 and r.details["a"] == 1 for r in lines)
    [alone] = with_tests([result()], [estimate(np.array([[[0.2]]]))], Intervals())
    assert alone.details == {"comparisons": 1}, "one subject finds nothing"


def test_a_line_states_the_factors_behind_its_interval() -> None:
    rng = np.random.default_rng(1)
    found = estimate(rng.normal(0.1, 0.1, (3, 1, 8)))
    line = Result.build(
        found,
        0.95,
        shared={},
        seeds={"runs": [0, 1, 2]},
        kind="fewshot-difference",
        metric="accuracy",
        model="a",
        domain="d",
        details={"x": 1},
    )
    facts = line.details["inference"]
    assert facts["levels"] == {"subject": 8, "seed": 3}
    assert sum(facts["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert (facts["se"], facts["p"]) == (found.se, found.p)
    assert (line.low, line.high) == found.interval(0.95)
    assert (line.subjects, line.episodes, line.details["x"]) == (8, 3, 1)
