"""Subjects, classes and benchmark runs: every figure of a report comes from stored counts and lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.protocols.fewshot.detail import detail_sections, kept_counts
from eval.protocols.limited_labels.sections import labels_sections
from eval.protocols.ood.sections import ood_sections, runs_section
from eval.protocols.zeroshot.sections import zeroshot_sections
from eval.report.document import Figure, Folded, Table
from eval.results.counts import load_counts
from eval.results.lines import Result
from eval.results.store import read_results
from imu_video.errors import DataError
from imu_video.metrics.classify import macro_f1


def tables(section: Any) -> list[Table]:
    return [b for b in section.blocks if isinstance(b, Table)]


def fewshot(results: Sequence[Result]) -> list[Result]:
    return [r for r in results if r.protocol == "fewshot"]


def test_the_worst_subject_is_found_in_the_stored_counts(made: Any) -> None:
    results, _ = read_results([made.results])
    section = detail_sections(fewshot(results), "macro_f1")[0]
    [table] = tables(section)
    row = next(r for r in table.rows if r[:3] == ["people", "pretrained", "logreg"])
    line = next(
        r
        for r in results
        if (r.kind, r.metric, r.domain, r.model, r.probe, r.shots)
        == ("fewshot", "macro_f1", "people", "pretrained", "logreg", 3)
    )
    counts, names = load_counts(str(line.cells), Path())
    own = {}
    for s, name in enumerate(names["subjects"]):
        values = [macro_f1(counts[0, e, s]) for e in range(counts.shape[1]) if counts[0, e, s].sum()]
        if values:
            own[name] = float(np.mean(values))
    worst = min(own, key=lambda name: own[name])
    assert row[3] == f"{own[worst]:.3f} ({worst})"
    assert row[4] == f"{line.value:.3f}", "the mean over subjects is the figure of the line"


def test_recall_of_a_class_is_per_subject_and_episode(made: Any) -> None:
    results, _ = read_results([made.results])
    k = next(k for k in kept_counts(fewshot(results), "macro_f1")["people"] if k.line.model == "handcrafted")
    assert k.line.probe == "logreg", "fixed beforehand"
    cells = k.recalls()
    assert cells.shape == (3, len(k.counts), 4, len(k.subjects))
    one = k.counts[0, 0, 0]
    expected = np.diag(one) / one.sum(axis=1) if one.sum() else np.full(3, np.nan)
    assert cells[:, 0, 0, 0] == pytest.approx(expected, nan_ok=True)


def test_lines_without_cells_give_no_section(made: Any) -> None:
    results, _ = read_results([made.results])
    bare = [r.model_copy(update={"cells": None, "details": {}}) for r in results if r.metric == "macro_f1"]
    assert detail_sections(fewshot(bare), "macro_f1") == []
    assert detail_sections([], "macro_f1") == []


def test_forms_of_zero_shot_are_never_in_one_table(made: Any) -> None:
    results, _ = read_results([made.results])
    sections = zeroshot_sections([r for r in results if r.protocol == "zeroshot"])
    assert [s.title for s in sections] == ["Zero-shot from video", "Zero-shot by something <new>"]
    assert [len(t.rows) for s in sections for t in tables(s)] == [1, 1]
    assert all(isinstance(s.blocks[-1], Folded) for s in sections), "the confusions that lines carry are shown"


def test_the_benchmark_shows_subjects_and_minimum_detectable_differences(made: Any) -> None:
    results, _ = read_results([made.results])
    own = [r for r in results if r.protocol == "ood"]
    section, calibration = ood_sections(own)
    assert calibration.title.startswith("Calibration")
    assert sum(isinstance(b, Figure) for b in section.blocks) == 2, "differences, and every subject"
    figures, differences = tables(section)
    assert [row[0] for row in figures.rows] == ["erm on cnn", "mixup on cnn"]
    assert differences.columns[-2:] == ["p (Holm)", "minimum detectable difference"]
    one = next(r for r in own if r.kind == "ood" and r.metric == "accuracy")
    by_person = [np.mean([v for v in row if v is not None]) for row in one.details["by_person"].values()]
    assert np.mean(by_person) == pytest.approx(one.value, abs=1e-5)


def test_limited_labels_show_subjects_and_tests(made: Any) -> None:
    results, _ = read_results([made.results])
    section, *_ = labels_sections([r for r in results if r.protocol == "labels"])
    assert sum(isinstance(b, Figure) for b in section.blocks) == 1
    by_class, tests = (b for b in section.blocks if isinstance(b, Folded))
    table = tests.blocks[0]
    assert isinstance(table, Table)
    one = next(r for r in results if r.kind == "labels-difference")
    assert [*table.rows[0][:5]] == [one.domain, one.model, one.probe, one.reference, "1"]
    assert table.rows[0][6] == f"{one.details['p_holm']:.3f}"
    assert by_class.summary == "Results per class"


def test_every_finished_run_is_a_dot(made: Any) -> None:
    section = runs_section(made.benchmark)
    [table] = tables(section)
    files = [json.loads(p.read_text()) for p in (made.benchmark / "runs").iterdir()]
    assert sum(int(str(row[2])) for row in table.rows) == len(files)
    for _, target, _, valid, _, _ in table.rows:
        assert valid == f"{np.mean([f['valid'] for f in files if f['target'] == target]):.3f}"


def test_what_is_no_benchmark_is_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of a benchmark"):
        runs_section(tmp_path)
    facts = (made.benchmark / "benchmark.json").read_bytes()
    (tmp_path / "benchmark.json").write_bytes(facts)
    with pytest.raises(DataError, match="no finished run"):
        runs_section(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text('{"model": "x"}')
    with pytest.raises(DataError, match=r"a\.json: not a result"):
        runs_section(tmp_path)
