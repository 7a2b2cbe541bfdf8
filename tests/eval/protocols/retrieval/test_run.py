"""Retrieval in both directions with a student whose quality is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.data.windows import LabelledWindows
from eval.protocols.retrieval.run import draw_galleries, run_retrieval, subject_figures
from imu_video.config import validate
from imu_video.errors import LeakageError
from imu_video.metrics.ranking import retrieval


def config(**changes: object) -> EvalConfig:
    return validate({**changes}, EvalConfig, source="test")


def test_retrieval_is_perfect_without_noise_and_chance_with_it(paired: LabelledWindows, pair: Any) -> None:
    def figures(noise: float) -> dict[tuple[str, str], Any]:
        loaded = config(retrieval={"gallery": 16, "galleries": 60})
        results = run_retrieval(paired, pair(noise=noise), loaded, {})
        return {(r.probe, r.metric): r for r in results}

    exact, blind = figures(0.0), figures(1000.0)
    for way in ("imu to video", "video to imu"):
        assert exact[way, "R@1"].value == 1.0
        assert exact[way, "MRR"].value == 1.0
        assert blind[way, "R@1"].value == pytest.approx(1 / 16, abs=0.03)
        assert blind[way, "R@5"].value == pytest.approx(5 / 16, abs=0.06)
        assert blind[way, "R@1"].chance == 1 / 16
        assert exact[way, "R@1"].details["gallery"] == 16


def test_galleries_hold_distinct_samples_and_every_device(paired: LabelledWindows) -> None:
    galleries = draw_galleries(paired.sample, 20, 30, seed=3)
    for g in galleries:
        assert len(g) == len(np.unique(paired.sample[g])) == 20
    assert set(paired.facts["placement"][np.concatenate(galleries)]) == {"wrist", "ankle"}
    again = draw_galleries(paired.sample, 20, 30, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(galleries, again, strict=True))


def test_subject_figures_average_to_plain_retrieval() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(12, 12))
    ranks = (similarity >= similarity.diagonal()[:, None]).sum(axis=1)[None]
    person = np.repeat(np.arange(3), 4)[None]
    stack = subject_figures(ranks, person, 4, [1, 5])
    plain = retrieval(similarity, ks=(1, 5))
    assert np.allclose(np.nanmean(stack, axis=(1, 2)), [plain["R@1"], plain["R@5"], plain["MRR"]])
    assert np.isnan(stack[:, 3]).all(), "a person without a query has no figure"


def test_both_directions_have_intervals_and_permuted_pairs_are_at_chance(paired: LabelledWindows, pair: Any) -> None:
    loaded = config(retrieval={"gallery": 16, "galleries": 40})
    results = run_retrieval(paired, pair(permuted=True), loaded, {})
    assert {r.probe for r in results} == {"imu to video", "video to imu"}
    assert all(r.low is not None and r.high is not None and r.low < r.high and r.subjects == 7 for r in results)
    for r in results:
        if r.metric == "R@1":
            assert r.value == pytest.approx(1 / 16, abs=0.04)


def test_people_of_the_pretraining_are_never_queried(paired: LabelledWindows, pair: Any) -> None:
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}}
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run_retrieval(paired, pair(lineage=lineage), config(), {})


def test_encoders_of_several_pretraining_seeds_are_one_row(paired: LabelledWindows, pair: Any) -> None:
    loaded = config(retrieval={"gallery": 16, "galleries": 8})
    shared = {"encoder": {"name": "m", "pretraining": {"seeds": [0, 1], "weights": ["a", "b"]}}}
    both = run_retrieval(paired, [pair(noise=0.0), pair(noise=1000.0)], loaded, shared)
    found = {(r.probe, r.metric): r for r in both}["imu to video", "R@1"]
    assert found.value == pytest.approx((1.0 + 1 / 16) / 2, abs=0.05)
    assert found.details["inference"]["levels"]["pretraining seed"] == 2
    assert found.seeds["pretraining"] == [0, 1]
    assert not found.one_pretraining_seed
