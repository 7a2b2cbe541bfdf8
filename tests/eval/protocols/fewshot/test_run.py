"""Episodes run end to end on made-up windows: chance under shuffled labels, determinism, pairing, references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.config import EvalConfig
from eval.data.features import FeatureSet, compute_features, untrained_twin
from eval.data.splits import Domain, EpisodeConfig, Episodes, draw_episodes
from eval.data.windows import LabelledWindows
from eval.probes import (
    EstimatorProbe,
    LogregProbe,
    NeighbourProbe,
    Probe,
    PrototypeProbe,
    RidgeProbe,
    confidence_of,
    fit_supports,
)
from eval.protocols.fewshot.measure import measure
from eval.protocols.fewshot.run import run_fewshot, tally_probe
from eval.results.counts import Counts
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.metrics.calibration import BINS, expected_calibration_error, reliability_bins
from imu_video.metrics.classify import METRICS, accuracy, balanced_accuracy

SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
ENCODER = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}


@pytest.fixture(scope="module")
def bundle() -> EncoderBundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return EncoderBundle(spec=SPEC, encoder=ENCODER).eval()


def config(**changes: object) -> EvalConfig:
    base = {
        "domains": [{"name": "people"}, {"name": "ankle", "placements": ["ankle"]}],
        "episodes": {"shots": [1, 3], "episodes": 8},
        "references": {"untrained_seeds": [0, 1]},
    }
    return validate({**base, **changes}, EvalConfig, source="test")


def test_every_cell_of_the_grid_is_measured_once(windows: LabelledWindows, bundle: EncoderBundle) -> None:
    counts, remarks = run_fewshot(windows, bundle, config())
    keys = [(c.domain, c.shots, c.model, c.probe) for c in counts]
    models = ("pretrained", "untrained", "handcrafted")
    probes = ("prototype", "ridge")
    assert sorted(keys) == sorted(
        (d, s, m, p) for d in ("people", "ankle") for s in (1, 3) for m in models for p in probes
    )
    assert remarks == []
    for c in counts:
        assert c.counts.shape == (2 if c.model == "untrained" else 1, 8, len(c.subjects), 4, 4)
        asked = c.counts.sum(axis=(3, 4))
        assert np.array_equal(asked, np.broadcast_to(asked[:1], asked.shape)), "every seed answers the same queries"
        per_person = 24 if c.domain == "ankle" else 48
        assert set(np.unique(asked).tolist()) == {0, per_person}, "a person is asked everything, or gave support"
    good = next(c for c in counts if (c.domain, c.shots, c.model, c.probe) == ("ankle", 3, "handcrafted", "ridge"))
    assert np.nanmean(good.cells(accuracy)) > 0.9, "these rhythms are easy for spectra"


def test_counts_equal_a_naive_loop(windows: LabelledWindows) -> None:
    episodes = draw_episodes(windows, Domain(name="people"), EpisodeConfig(shots=[1, 2], episodes=3))
    features = compute_features("handcrafted", windows, episodes.rows, bundle=None)  # type: ignore[arg-type]
    counts = tally_probe(windows, episodes, features, RidgeProbe(), 2)[0][0]
    x = np.zeros((len(windows), features.arrays[0].shape[1]), dtype=np.float32)
    x[features.rows] = features.arrays[0]
    for e, episode in enumerate(episodes.episodes):
        rows, labels = episode.support_rows(2)
        fitted = RidgeProbe().fit(x[rows], labels, classes=4)
        expected = np.zeros_like(counts[e])
        for row in episode.query:
            person = episodes.subjects.index(windows.subject[row])
            expected[person, windows.labels[row], fitted.scores(x[row : row + 1]).argmax()] += 1
        assert np.array_equal(counts[e], expected)


def tally_one_by_one(
    windows: LabelledWindows, episodes: Episodes, features: FeatureSet, probe: Probe, shots: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reference twin of `tally_probe`: episode by episode, person by person. (R, E, S, M, M), (R, E, S, B, 3)."""
    classes, people = len(episodes.names), episodes.subjects
    counts = np.zeros((len(features.arrays), len(episodes.episodes), len(people), classes, classes), dtype=np.int64)
    bins = np.zeros((*counts.shape[:3], BINS, 3))
    for seed, x in enumerate(features.arrays):
        for e, episode in enumerate(episodes.episodes):
            rows, labels = episode.support_rows(shots)
            (fitted,) = fit_supports(probe, x, [(features.place(rows), labels)], classes=classes)
            for s, person in enumerate(people):
                own = episode.query[windows.subject[episode.query] == person]
                truth = np.searchsorted(episodes.classes, windows.labels[own])
                if len(own):
                    scores = np.asarray(fitted.scores(x[features.place(own)]))
                    predicted = scores.argmax(axis=1)
                    np.add.at(counts[seed, e, s], (truth, predicted), 1)
                    if how := getattr(probe, "confidence", None):
                        bins[seed, e, s] = reliability_bins(confidence_of(scores, how), predicted == truth)
    return counts, bins


@pytest.mark.parametrize(
    "probe",
    [PrototypeProbe(), RidgeProbe(), LogregProbe(), NeighbourProbe(), EstimatorProbe(estimator="GaussianNB")],
    ids=lambda probe: type(probe).__name__,
)
def test_the_batched_tally_equals_one_by_one(
    windows: LabelledWindows, bundle: EncoderBundle, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.protocols.fewshot.run._AT_ONCE", 3)  # several rounds, the last one shorter
    episodes = draw_episodes(windows, Domain(name="people"), EpisodeConfig(shots=[1, 3], episodes=8))
    features = compute_features("untrained", windows, episodes.rows, bundle=bundle, seeds=[0, 1])
    for shots in (1, 3):
        counts, bins = tally_probe(windows, episodes, features, probe, shots)
        expected, expected_bins = tally_one_by_one(windows, episodes, features, probe, shots)
        assert np.array_equal(counts, expected)
        assert (bins is None) == (not hasattr(probe, "confidence"))
        if bins is not None:
            assert np.array_equal(bins[..., [0, 2]], expected_bins[..., [0, 2]])
            assert np.allclose(bins[..., 1], expected_bins[..., 1], rtol=1e-4)


@pytest.mark.parametrize("probe", [LogregProbe(), NeighbourProbe()])
def test_reliability_bins_equal_a_naive_loop(windows: LabelledWindows, probe: Probe) -> None:
    episodes = draw_episodes(windows, Domain(name="people"), EpisodeConfig(shots=[2], episodes=2))
    features = compute_features("handcrafted", windows, episodes.rows, bundle=None)  # type: ignore[arg-type]
    counts, bins = tally_probe(windows, episodes, features, probe, 2)
    assert bins is not None
    assert np.array_equal(bins[..., 0].sum(axis=-1), counts.sum(axis=(-2, -1)))
    assert np.allclose(bins[..., 2].sum(axis=-1), np.trace(counts, axis1=-2, axis2=-1))
    x = features.arrays[0]
    episode = episodes.episodes[1]
    rows, labels = episode.support_rows(2)
    fitted = probe.fit(x[features.place(rows)], labels, classes=4)
    person = episodes.subjects.index(episode.query_subjects[0])
    stated, right = [], []
    for row in episode.query[windows.subject[episode.query] == episode.query_subjects[0]]:
        scores = fitted.scores(x[features.place(np.array([row]))])[0].astype(np.float64)
        if isinstance(probe, LogregProbe):
            scores = np.exp(scores) / np.exp(scores).sum()
        stated.append(min(float(scores.max()), 1.0))
        right.append(scores.argmax() == windows.labels[row])
    naive = expected_calibration_error(reliability_bins(np.array(stated), np.array(right)))
    assert float(expected_calibration_error(bins[0, 1, person])) == pytest.approx(float(naive), abs=0.02)
    assert tally_probe(windows, episodes, features, RidgeProbe(), 2)[1] is None, "ridge states no probabilities"


def test_calibration_lines_come_with_probes_that_state_probabilities(
    windows: LabelledWindows, bundle: EncoderBundle
) -> None:
    loaded = config(probes=["ridge", "logreg"], references={"untrained_seeds": [0, 1], "handcrafted": False})
    counts, _ = run_fewshot(windows, bundle, loaded)
    results = measure(counts, loaded, {})
    calibration = [r for r in results if r.metric in ("ece", "overconfidence")]
    assert {r.probe for r in calibration} == {"logreg"}
    assert {r.kind for r in calibration} == {"fewshot"}, "no differences of calibration"
    assert {(r.metric, r.low is None) for r in calibration} == {("ece", True), ("overconfidence", False)}
    differences = [r for r in results if r.kind == "fewshot-difference"]
    assert {r.details["comparisons"] for r in differences} == {2 * 2 * 2}, "domains, shots, probes; each metric alone"
    assert all(0 < r.details["p_holm"] <= 1 for r in differences)


def test_shuffled_labels_score_chance(make: Callable[..., LabelledWindows], bundle: EncoderBundle) -> None:
    windows = make(people=8)
    shuffled = replace(windows, labels=np.random.default_rng(0).permutation(windows.labels))
    counts, _ = run_fewshot(shuffled, bundle, config(domains=[{"name": "people"}], episodes={"episodes": 30}))
    for c in counts:
        figure = float(np.nanmean(c.cells(balanced_accuracy)))
        assert figure == pytest.approx(0.25, abs=0.04), f"{c.model} with {c.probe} finds {figure} in shuffled labels"


def test_same_config_same_counts(windows: LabelledWindows, bundle: EncoderBundle) -> None:
    torch.manual_seed(1)
    one, _ = run_fewshot(windows, bundle, config())
    torch.manual_seed(2)
    two, _ = run_fewshot(windows, bundle, config())
    assert all(np.array_equal(a.counts, b.counts) for a, b in zip(one, two, strict=True))
    other, _ = run_fewshot(windows, bundle, config(episodes={"shots": [1, 3], "episodes": 8, "seed": 1}))
    assert any(not np.array_equal(a.counts, b.counts) for a, b in zip(one, other, strict=True))


def test_untrained_twins_differ_by_seed_and_leave_the_random_state(bundle: EncoderBundle) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (untrained_twin(bundle, s) for s in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    x = torch.randn(2, 6, 64)
    with torch.no_grad():
        assert torch.equal(a(x), b(x))
        assert not torch.allclose(a(x), c(x))
        assert not torch.allclose(a(x), bundle(x))


def test_the_parts_of_a_hybrid_stand_beside_it(windows: LabelledWindows) -> None:
    encoder = {"name": "hybrid", "network": {"name": "segment_cnn", "width": 8, "blocks": 2}}
    hybrid = EncoderBundle(spec=SPEC, encoder=encoder).eval()
    hybrid.fit(torch.from_numpy(windows.x).nan_to_num(), torch.from_numpy(np.isfinite(windows.x)))
    small = config(episodes={"shots": [1], "episodes": 2}, probes=["ridge"], domains=[{"name": "people"}])
    counts, _ = run_fewshot(windows, hybrid, small)
    assert [c.model for c in counts] == ["pretrained", "network", "statistics", "untrained", "handcrafted"]
    rows = np.arange(10)
    sets = {c.model: compute_features(c.model, windows, rows, bundle=hybrid, seeds=[0]).arrays[0] for c in counts}
    assert np.array_equal(sets["pretrained"], np.hstack([sets["network"], sets["statistics"]]))
    # The untrained copy has other weights and the same statistics, standardised with the same moments.
    columns = hybrid.parts["statistics"]
    assert np.array_equal(sets["untrained"][:, columns], sets["statistics"])
    assert not np.allclose(sets["untrained"][:, hybrid.parts["network"]], sets["network"])


def test_differences_are_paired_cell_by_cell() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 6, size=(1, 10, 5, 2, 2))  # the same luck for both models, one hit more for the first
    better = base.copy()
    better[..., 0, 0] += 1
    worse = base.copy()
    worse[..., 0, 1] += 1

    def counts(model: str, array: np.ndarray) -> Counts:
        return Counts(
            model=model,
            probe="ridge",
            domain="d",
            setting="within",
            shots=1,
            classes=("a", "b"),
            subjects=tuple("vwxyz"),
            counts=array,
        )

    results = measure([counts("pretrained", better), counts("handcrafted", worse)], config(), {})
    difference = next(r for r in results if r.kind == "fewshot-difference" and r.metric == "accuracy")
    singles = [r for r in results if r.kind == "fewshot" and r.metric == "accuracy"]
    assert difference.value == pytest.approx(singles[0].value - singles[1].value)
    assert difference.decided
    assert difference.low is not None
    assert difference.low > 0
    assert singles[1].high is not None
    assert singles[0].low is not None
    assert singles[0].low < singles[1].high, "unpaired intervals overlap: pairing is what decides here"


def test_supervised_runs_on_its_episodes_and_is_compared_on_those(
    windows: LabelledWindows, bundle: EncoderBundle
) -> None:
    supervised = {"episodes": 2, "steps": 30, "learning_rate": 0.01}
    loaded = config(
        domains=[{"name": "ankle", "placements": ["ankle"]}],
        episodes={"shots": [3], "episodes": 6},
        references={"untrained_seeds": [], "handcrafted": False, "supervised": supervised},
    )
    counts, _ = run_fewshot(windows, bundle, loaded)
    again, _ = run_fewshot(windows, bundle, loaded)
    own = next(c for c in counts if c.model == "supervised")
    assert np.array_equal(own.counts, next(c for c in again if c.model == "supervised").counts)
    assert own.probe == "head"
    assert (own.counts.sum(axis=(0, 2, 3, 4)) > 0).tolist() == [True, True, False, False, False, False]
    assert np.nanmean(own.cells(accuracy)) > 0.4, "chance is 0.25: it learns something"
    results = measure(counts, loaded, {})
    compared = [r for r in results if r.reference == "supervised"]
    assert {(r.probe, r.episodes) for r in compared} == {("prototype", 2), ("ridge", 2)}
    assert {r.episodes for r in results if r.model == "pretrained" and r.kind == "fewshot"} == {6}


def test_people_of_the_pretraining_are_refused(windows: LabelledWindows, bundle: EncoderBundle) -> None:
    seen = EncoderBundle(spec=SPEC, encoder=ENCODER)
    seen.lineage = {
        "dataset": {"dataset": "made", "subjects": {"train": ["s03"], "val": ["s01"]}},
        "config": {"data.val_split": "val"},
    }
    with pytest.raises(LeakageError, match="s03"):
        run_fewshot(windows, seen, config())
    seen.lineage["dataset"]["subjects"]["train"] = []
    _, remarks = run_fewshot(windows, seen, config(domains=[{"name": "people"}], episodes={"episodes": 2}))
    assert remarks == ["people: query subjects ['s01'] were used to choose the checkpoint"]


def test_config_mistakes_are_refused(windows: LabelledWindows, bundle: EncoderBundle) -> None:
    with pytest.raises(ConfigError, match="domain names must be distinct"):
        config(domains=[{"name": "a"}, {"name": "a"}])
    with pytest.raises(ConfigError, match="distinct names"):
        config(probes=["ridge", {"name": "ridge", "scaling": "none"}])
    two = config(probes=["ridge", {"name": "ridge", "as": "ridge raw", "scaling": "none"}])
    assert two.probe_names == ["ridge", "ridge raw"]
    with pytest.raises(ConfigError, match="did you mean 'ridge'"):
        run_fewshot(windows, bundle, config(probes=["ridg"]))


def test_pretraining_seeds_are_a_factor_crossed_with_subjects_and_episodes(
    windows: LabelledWindows, bundle: EncoderBundle
) -> None:
    """Encoders of one recipe are one row; differences have one factor for the seeds of each side."""
    twins = [untrained_twin(bundle, seed) for seed in (11, 12, 13, 14)]
    loaded = config(domains=[{"name": "people"}], probes=["ridge"], episodes={"shots": [1], "episodes": 6})
    counts, _ = run_fewshot(
        windows, bundle, loaded, also=twins[:2], seeds=(4, 5, 6), against={"other": (twins[2:], (0, 1))}
    )
    single, _ = run_fewshot(windows, bundle, loaded)
    by_model = {c.model: c for c in counts}
    assert by_model["pretrained"].pretraining == (4, 5, 6)
    assert np.array_equal(by_model["pretrained"].counts[0], single[0].counts[0]), "the first encoder is unchanged"
    lines = {(r.kind, r.model, r.reference): r for r in measure(counts, loaded, {}) if r.metric == "macro_f1"}
    own = lines["fewshot", "pretrained", None]
    assert own.details["inference"]["levels"]["pretraining seed"] == 3
    assert own.seeds["pretraining"] == [4, 5, 6]
    assert own.value == pytest.approx(
        np.nanmean(np.nanmean(by_model["pretrained"].cells(METRICS["macro_f1"]), (0, 1, 2)))
    )
    against = lines["fewshot-difference", "pretrained", "other"].details["inference"]["levels"]
    assert (against["pretraining seed"], against["pretraining seed of the reference"]) == (3, 2)
    untrained = lines["fewshot-difference", "pretrained", "untrained"].details["inference"]["levels"]
    assert (untrained["pretraining seed"], untrained["seed"]) == (3, 2)
    alone = next(r for r in measure(single, loaded, {}) if r.metric == "macro_f1")
    assert "pretraining seed" not in alone.details["inference"]["levels"]
