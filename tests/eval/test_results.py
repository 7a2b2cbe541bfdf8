"""Result files: nothing is lost, the latest counts, damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.fewshot import Counts
from eval.results import Result, append_results, cell_key, load_counts, read_results, save_counts
from imu_video.errors import DataError


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
    back, names = load_counts(f"cells/x.npz::{cell_key(c)}", tmp_path)
    assert np.array_equal(back, array)
    assert names == {"classes": list("vwxyz"), "subjects": list("abcd"), "seeds": [0, 1]}
    assert [p.name for p in (tmp_path / "cells").iterdir()] == ["x.npz"]
    with pytest.raises(DataError, match="cannot read counts 'nothing'"):
        load_counts("cells/x.npz::nothing", tmp_path)
