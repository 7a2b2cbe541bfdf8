"""Linear probing, fine-tuning and WiSE-FT on limited labels: exact ends, a choice that sees nobody who is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.data.windows import LabelledWindows
from eval.finetune.network import Network, measured, train_network
from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.inputs import Features
from eval.protocols.limited_labels.lines import measure_labels
from eval.protocols.limited_labels.plan import Plan
from eval.protocols.limited_labels.run import Cells, LabelsRun
from eval.protocols.limited_labels.sections import run_tables, wise_tables
from eval.protocols.limited_labels.subjects import group_subjects
from eval.results.cells import CellStore
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.config import load_config, validate
from imu_video.metrics.classify import accuracy

SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
SPLITS = {"s00": "train", "s01": "train", "s02": "train", "s03": "val", "s04": "test", "s05": "test"}
LINEAR = {"epochs": 6, "batch": 8, "learning_rate": 0.02, "warmup": 0.0, "augment": []}
TUNED = {"epochs": 4, "batch": 8, "learning_rate": 0.01, "encoder_factor": 0.5, "augment": []}
METHODS = [
    {"name": "linear probe", "learn": "linear"},
    {"name": "wise", "learn": "wise"},
    {"name": "random", "start": "random", "learn": "linear"},
]


def config(**options: Any) -> LabelsConfig:
    plain = {"labels": [4], "seeds": [0, 1], "methods": METHODS, "references": ["random"], "linear": LINEAR}
    plain |= {"finetune": TUNED, "alphas": [0, 0.25, 0.5, 0.75, 1]}
    return validate({**plain, **options}, LabelsConfig, source="test")


@pytest.fixture(scope="module")
def windows(make: Callable[..., LabelledWindows]) -> LabelledWindows:
    made = make(placements=("wrist",))
    split = np.array([SPLITS[s] for s in made.subject.tolist()])
    return replace(made, facts={**made.facts, "split": split})


@pytest.fixture(scope="module")
def bundle() -> EncoderBundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EncoderBundle(spec=SPEC, encoder={"name": "harood_cnn", "kernel": 5, "norm": "batch"}).eval()


def cells(windows: LabelledWindows, bundle: EncoderBundle, conf: LabelsConfig, folder: Path) -> dict[str, Cells]:
    groups = group_subjects(windows, conf)
    features = Features(groups=groups, bundles=[bundle], weights=["w0"], model="mine", config=conf)
    run = LabelsRun(Plan(conf, features), store=CellStore(folder))
    return {c.method.name: c for c in run.run()}


def test_the_ends_are_probe_and_tuned_network(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path, logged: Any
) -> None:
    conf = config()
    found = cells(windows, bundle, conf, tmp_path)
    # 16 windows in batches of 8: 12 steps of a head, 8 of everything; two seeds, three methods
    assert logged.lines[0] == "mine: 6 cells, 0 finished, 6 trainings of 88 steps in total to do"
    curve = found["wise"].curve
    assert curve is not None
    assert curve.alphas.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.array_equal(curve.counts[:, 0], found["linear probe"].counts)
    assert np.array_equal(curve.counts[:, 2], found["wise"].counts), "0.5 is fixed beforehand"
    groups = group_subjects(windows, conf)
    for seed in conf.seeds:
        rows = groups.pool[groups.labelled(4, seed)]
        torch.manual_seed(seed)
        copy = EncoderBundle(spec=SPEC, encoder=bundle.encoder_config)
        copy.load_state_dict(bundle.state_dict())
        network = Network(bundle=copy, classes=4)
        frozen = {k: v.clone() for k, v in copy.state_dict().items()}
        targets = torch.eye(4)[torch.from_numpy(groups.truth(rows))]
        network.freeze(True)
        train_network(network, *measured(windows.x[rows]), targets, config=conf.linear, seed=seed)
        assert all(torch.equal(frozen[k], v) for k, v in copy.state_dict().items())
        network.freeze(False)
        train_network(network, *measured(windows.x[rows]), targets, config=conf.finetune, seed=seed)
        predicted = network.probabilities(*measured(windows.x[groups.test])).argmax(axis=1)
        assert np.array_equal(curve.counts[seed, -1], groups.counts(predicted))
        assert not np.array_equal(frozen["encoder.layers.0.weight"], copy.state_dict()["encoder.layers.0.weight"])


def test_alpha_is_chosen_on_the_people_of_choose(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    conf = config(methods=METHODS[1:])
    one = cells(windows, bundle, conf, tmp_path / "a")["wise"]
    assert one.curve is not None
    assert one.curve.on_choose is not None
    assert one.curve.chosen is not None
    for seed in (0, 1):
        at = one.curve.on_choose[seed].argmax()  # the first of equals: the smallest alpha
        assert one.curve.chosen[seed] == one.curve.alphas[at]
        assert np.array_equal(one.chosen[seed], one.curve.counts[seed, at])
    asked = windows.facts["split"] == "test"
    other = replace(windows, labels=np.where(asked, (windows.labels + 1) % 4, windows.labels))
    two = cells(other, bundle, conf, tmp_path / "b")["wise"]
    assert np.array_equal(two.curve.chosen, one.curve.chosen)
    assert not np.array_equal(two.counts, one.counts)
    blind = cells(windows, bundle, config(methods=METHODS[1:], choose=None), tmp_path / "c")["wise"]
    assert np.array_equal(blind.counts, one.counts)
    assert blind.chosen is blind.curve.on_choose is blind.curve.chosen is None


def test_curves_and_calibration_reach_the_lines(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    methods = [*METHODS, {"name": "probe"}, {"name": "ensemble", "learn": "all"}]
    conf = config(methods=methods, finetune={**TUNED, "members": 2})
    groups = group_subjects(windows, conf)
    found = cells(windows, bundle, conf, tmp_path)
    results = measure_labels(list(found.values()), groups, conf, {"encoder": {"name": "mine"}})
    line = next(r for r in results if (r.kind, r.metric, r.probe) == ("labels", "macro_f1", "wise"))
    curve = found["wise"].curve
    assert [row[0] for row in line.details["by_alpha"]] == curve.alphas.tolist()
    assert [row[1] for row in line.details["by_alpha"]] == pytest.approx(curve.on_choose.mean(axis=0), abs=1e-6)
    assert line.details["by_alpha"][2][2] == pytest.approx(line.value, abs=1e-6)
    assert line.details["alpha"] == curve.chosen.tolist()
    [table] = wise_tables(results, metric="macro_f1")
    assert [len(row) for row in table.rows] == [len(table.columns)]
    for name, c in found.items():
        assert c.bins is not None, "logistic regression and networks state probabilities"
        assert np.array_equal(c.bins[..., 0].sum(axis=-1), c.counts.sum(axis=(-1, -2))), name
        assert np.array_equal(c.bins[..., 2].sum(axis=-1), np.trace(c.counts, axis1=-2, axis2=-1)), name
        stated = c.bins[..., 1].sum(axis=-1) / c.bins[..., 0].sum(axis=-1)
        over = next(r for r in results if (r.kind, r.metric, r.probe) == ("labels", "overconfidence", name))
        assert over.value == pytest.approx((stated - accuracy(c.counts)).mean())
    assert len(run_tables(results)[-1].rows) == len(found), "calibration of every method"
    without = [replace(c, bins=None) for c in found.values()]
    lines = measure_labels(without, groups, conf, {"encoder": {"name": "mine"}})
    assert {r.metric for r in lines} == {"accuracy", "macro_f1"}


def test_what_cannot_stay_near_pretrained_weights_is_refused() -> None:
    for method, why in (
        ({"name": "x", "start": "random", "learn": "wise"}, "stays near pretrained weights"),
        ({"name": "x", "learn": "linear", "inputs": "teacher"}, "the teacher is frozen"),
    ):
        with pytest.raises(ValueError, match=why):
            LabelsConfig.model_validate({"methods": [method], "references": []})


def test_the_shipped_protocol_has_the_published_numbers() -> None:
    conf = load_config("configs/eval/limited_labels/imu_video.yaml", LabelsConfig)
    linear, tuned = conf.linear, conf.finetune
    assert (conf.labels, linear.batch, tuned.batch, linear.epochs, tuned.epochs) == ([100], 8, 8, 25, 50)
    assert (linear.learning_rate, tuned.learning_rate * tuned.encoder_factor) == (1e-3, pytest.approx(1e-6))
    assert linear.steps_for(500) == 1563
