"""Limited labels: nested labels, people kept apart, cells kept and reused, paired differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.data.windows import LabelledWindows
from eval.finetune.config import SpreadConfig
from eval.finetune.joint import HEADS, copied_tower, untrained_tower
from eval.finetune.network import Network
from eval.protocols.limited_labels.config import LabelsConfig, Method
from eval.protocols.limited_labels.inputs import Features, Side
from eval.protocols.limited_labels.lines import measure_labels
from eval.protocols.limited_labels.plan import Cell, Plan
from eval.protocols.limited_labels.run import LabelsRun
from eval.protocols.limited_labels.sections import labels_table
from eval.protocols.limited_labels.subjects import Groups, group_subjects
from eval.recipes import encoder_folders
from eval.report.build import write_report
from eval.results.cells import CellStore
from eval.results.lines import CALIBRATION
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.config import load_config, shipped, validate
from imu_video.errors import ConfigError, DataError, LeakageError
from imu_video.metrics.classify import METRICS
from imu_video.sides import TowerBundle
from imu_video.transforms import Compose

CONFIGS = sorted((shipped() / "eval" / "limited_labels").glob("*.yaml"))
SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
SPLITS = {"s00": "train", "s01": "train", "s02": "train", "s03": "val", "s04": "test", "s05": "test"}
SHORT = {"steps": 4, "learning_rate": 0.01, "augment": []}


def config(**options: Any) -> LabelsConfig:
    plain = {"labels": [1, 3, "all"], "seeds": [0, 1]}
    return validate({**plain, "scratch": SHORT, "finetune": SHORT, **options}, LabelsConfig, source="test")


@pytest.fixture(scope="module")
def windows(make: Callable[..., LabelledWindows]) -> LabelledWindows:
    made = make(placements=("wrist",))
    split = np.array([SPLITS[s] for s in made.subject.tolist()])
    rng = np.random.default_rng(0)
    teacher = (np.eye(4)[made.labels] * 3 + rng.normal(size=(len(made), 4))).astype(np.float32)
    options = {**made.__dict__, "facts": {**made.facts, "split": split}, "teacher": teacher, "teacher_name": "t0"}
    return LabelledWindows(**options)


@pytest.fixture(scope="module")
def bundle() -> EncoderBundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EncoderBundle(spec=SPEC, encoder={"name": "segment_cnn", "width": 8, "blocks": 2}).eval()


def run(windows: LabelledWindows, bundle: EncoderBundle, conf: LabelsConfig, folder: Path, **options: Any) -> LabelsRun:
    plain: dict[str, Any] = {"bundles": [bundle], "weights": ["w0"], "model": "mine"}
    features = Features(groups=group_subjects(windows, conf), config=conf, **{**plain, **options})
    return LabelsRun(Plan(conf, features), store=CellStore(folder))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_build(path: Path) -> None:
    loaded = load_config(path, LabelsConfig)
    Compose.build(loaded.scratch.augment)
    Compose.build(loaded.finetune.augment)


def test_the_base_config_is_the_defaults() -> None:
    assert load_config("configs/eval/limited_labels/base.yaml", LabelsConfig) == LabelsConfig()


def test_labels_are_nested_balanced_and_go_round_the_people(windows: LabelledWindows) -> None:
    people = group_subjects(windows, config())
    assert set(windows.subject[people.pool]) == {"s00", "s01", "s02"}
    for seed in (0, 1):
        sets = [people.labelled(n, seed) for n in (1, 3, 5, "all")]
        for small, large in pairwise(sets):
            assert set(small) < set(large)
        three = people.pool[sets[1]]
        assert np.bincount(windows.labels[three]).tolist() == [3] * 4
        for c in range(4):
            assert len(set(windows.subject[three[windows.labels[three] == c]])) == 3, "one from each person"
        assert len(sets[-1]) == len(people.pool)
    assert not np.array_equal(people.labelled(1, 0), people.labelled(1, 1))


def test_a_person_in_two_groups_is_refused(windows: LabelledWindows) -> None:
    for options in ({"test": {"split": ["test", "train"]}}, {"choose": {"split": "test"}}):
        with pytest.raises(LeakageError, match="share"):
            group_subjects(windows, config(**options))
    rows, test = (np.flatnonzero(windows.facts["split"] == s) for s in ("train", "test"))
    with pytest.raises(ConfigError, match=r"the pool has no window of \['activity0'"):
        Groups(windows=windows, pool=rows[windows.labels[rows] > 0], choose=rows[:0], test=test)


def test_named_classes_alone_are_told_apart(windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path) -> None:
    named = config(classes=["activity2", "activity0"], methods=[{"name": "probe"}], references=[], labels=[1])
    people = group_subjects(windows, named)
    for rows in (people.pool, people.choose, people.test):
        assert {windows.classes[c] for c in windows.labels[rows]} == {"activity0", "activity2"}
    (cells,) = run(windows, bundle, named, tmp_path).run()
    assert cells.counts.shape[-2:] == (2, 2)
    everything = named.model_copy(update={"classes": None})
    assert run(windows, bundle, everything, tmp_path).run()[0].counts.shape[-2:] == (4, 4)  # another cell
    with pytest.raises(ConfigError, match=r"classes \['jumping'\] are not in the data"):
        group_subjects(windows, config(classes=["activity0", "jumping"]))


def test_whoever_was_pretrained_on_is_not_asked(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    seen = EncoderBundle(spec=SPEC, encoder=bundle.encoder_config)
    seen.lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s04"]}}, "config": {}}
    with pytest.raises(LeakageError, match="pretrained on 1 of the query subjects"):
        run(windows, seen, config(), tmp_path)


def test_every_method_runs_and_a_second_run_computes_nothing(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    methods = [
        {"name": "probe"},
        {"name": "probe spread", "spread": {"inputs": "fused", "neighbours": 4}},
        {"name": "fused", "inputs": "fused"},
        {"name": "teacher", "inputs": "teacher"},
        {"name": "fine-tune", "learn": "all"},
        {"name": "fine-tune fused", "learn": "all", "inputs": "fused"},
        {"name": "random", "start": "random"},
        {"name": "scratch", "start": "random", "learn": "all"},
        {"name": "scratch spread", "start": "random", "learn": "all", "spread": {"inputs": "teacher"}},
    ]
    conf = config(methods=methods)
    weights = [p.clone() for p in bundle.parameters()]
    state = torch.random.get_rng_state()
    cells = run(windows, bundle, conf, tmp_path).run()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, bundle.parameters(), strict=True)), "fine-tuning is a copy's"
    assert logged.lines[0] == "mine: 54 cells, 0 finished, 24 trainings of 96 steps in total to do"
    asked = np.bincount(windows.labels[windows.facts["split"] == "test"]) // 2
    for c in cells:
        assert c.counts.shape == (2, 2, 4, 4)
        assert (c.counts.sum(axis=3) == asked).all(), "everybody is asked everything, each time"
        assert (c.chosen is not None) == (c.method.learn == "all")
    teacher = next(c for c in cells if c.method.name == "teacher" and c.number == "all")
    assert np.trace(teacher.counts.sum(axis=(0, 1))) / teacher.counts.sum() > 0.9
    assert teacher.model == "none"

    monkeypatch.setattr(LabelsRun, "_compute", lambda *_: pytest.fail("computed twice"))
    again = run(windows, bundle, conf, tmp_path, model="other name").run()
    assert all(np.array_equal(a.counts, b.counts) for a, b in zip(cells, again, strict=True))


def skeletons(windows: LabelledWindows) -> tuple[TowerBundle, torch.Tensor]:
    """A small skeleton encoder, and skeletons whose right arm is where the class says."""
    rng = np.random.default_rng(0)
    joints = ["pelvis", "neck", "left_hip", "right_hip", "right_wrist"]
    rest = np.array([[0, 1, 0], [0, 1.5, 0], [-0.1, 0.9, 0], [0.1, 0.9, 0], [0.3, 1, 0]], np.float32)
    x = rest + rng.normal(size=(len(windows), 20, 5, 3)).astype(np.float32) * 0.01
    x[:, :, 4, 1] += windows.labels[:, None] * np.sin(np.linspace(0, 6, 20))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = TowerBundle({"name": "skeleton", "width": 4, "frames": 16, "norm": "batch"}, joints=joints)
    return tower, torch.from_numpy(x)


def test_the_skeleton_encoder_trained_along_answers_by_three_heads(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    tower, shown = skeletons(windows)
    side = Side(name="tower 0", features=tower.encode(shown.numpy()), tower=tower, inputs=shown)
    before = {k: v.clone() for k, v in tower.state_dict().items()}
    methods = [
        *({"name": f"along {i}", "learn": "all", "along": "skeleton", "inputs": i} for i in HEADS),
        {"name": "scratch along", "start": "random", "learn": "all", "along": "skeleton", "inputs": "fused"},
    ]
    schedule = {**SHORT, "steps": 24, "members": 2}
    conf = config(methods=methods, references=[], labels=["all"], seeds=[0], finetune=schedule, scratch=SHORT)
    cells = run(windows, bundle, conf, tmp_path, sides=[side]).run()
    assert logged.lines[0] == "mine: 4 cells, 0 finished, 2 trainings of 28 steps in total to do", (
        "a training, three heads"
    )
    assert len(list(tmp_path.glob("*.npz"))) == 2
    assert all(torch.equal(v, before[k]) for k, v in tower.state_dict().items()), "a copy is trained"
    share = {c.method.name: np.trace(c.counts.sum(axis=(0, 1))) / c.counts.sum() for c in cells}
    assert share["along teacher"] > 0.9, "the class shows in the arm"
    assert share["along fused"] > 0.9
    assert share["along imu"] > 0.9
    assert [(c.model, c.pretrained) for c in cells] == [("mine", True)] * 3 + [("none", False)]
    assert all(c.chosen is not None for c in cells)
    other = Side(name="tower 1", features=side.features, tower=tower, inputs=shown)
    keys = [
        run(windows, bundle, conf, tmp_path, sides=[s]).plan.key(Cell(conf.methods[0], "all", 0)) for s in (side, other)
    ]
    assert keys[0] != keys[1]
    mixed = shown[torch.randperm(len(shown), generator=torch.Generator().manual_seed(0))]
    other = Side(name="tower 2", features=side.features, tower=tower, inputs=mixed)
    heads = config(methods=methods[:3], references=[], labels=["all"], seeds=[0], finetune={**schedule, "members": 1})
    told = run(windows, bundle, heads, tmp_path, sides=[other]).run()
    share = {c.method.name: np.trace(c.counts.sum(axis=(0, 1))) / c.counts.sum() for c in told}
    assert share["along teacher"] < 0.6 < share["along imu"], "each head says what its own encoder sees"
    with pytest.raises(ConfigError, match="was exported without one"):
        run(windows, bundle, conf, tmp_path).run()


def test_an_untrained_tower_keeps_only_what_the_data_said(windows: LabelledWindows) -> None:
    tower, _ = skeletons(windows)
    tower.tower.up.fill_(2)
    for name, buffer in tower.tower.named_buffers():
        if "running_mean" in name:
            buffer.fill_(7.0)
    fresh, copy = untrained_tower(tower), copied_tower(tower)
    assert int(fresh.tower.up) == int(copy.tower.up) == 2
    assert not any((b == 7).all() for n, b in fresh.tower.named_buffers() if "running_mean" in n)
    same = [torch.equal(a, b) for a, b in zip(tower.parameters(), fresh.parameters(), strict=True) if a.ndim > 1]
    assert not any(same)
    assert all(torch.equal(a, b) for a, b in zip(tower.parameters(), copy.parameters(), strict=True))
    assert not {p.data_ptr() for p in tower.parameters()} & {p.data_ptr() for p in copy.parameters()}


def test_members_are_other_seeds_and_their_probabilities_are_averaged(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[np.ndarray] = []
    probabilities = Network.probabilities

    def listen(network: Network, *args: Any) -> np.ndarray:
        out = probabilities(network, *args)
        told.append(out)
        return out

    monkeypatch.setattr(Network, "probabilities", listen)
    methods = [{"name": "scratch", "start": "random", "learn": "all"}, {"name": "fine-tune", "learn": "all"}]
    for members in (1, 3):
        conf = config(
            methods=methods[:1] if members == 1 else methods,
            references=[],
            labels=[3],
            seeds=[5],
            choose=None,
            scratch={**SHORT, "members": members},
            finetune={**SHORT, "members": members},
        )
        told.clear()
        cells = run(windows, bundle, conf, tmp_path / str(members)).run()
        assert len(told) == members * len(cells)
        people = group_subjects(windows, conf)
        for i, c in enumerate(cells):
            own = told[i * members : (i + 1) * members]
            assert np.array_equal(c.counts[0], people.counts(np.mean(own, axis=0).argmax(axis=1)))
            assert all(not np.array_equal(a, b) for a, b in pairwise(own))
        if members == 1:
            alone = told[0]
        else:
            assert np.array_equal(told[0], alone), "the first member is the network of one member"


def test_cells_depend_on_weights_and_schedule(windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path) -> None:
    methods = [
        {"name": "probe"},
        {"name": "fine-tune", "learn": "all"},
        {"name": "scratch", "start": "random", "learn": "all"},
    ]
    first = run(windows, bundle, config(methods=methods), tmp_path)
    other = run(windows, bundle, config(methods=methods), tmp_path, weights=["w1"])
    longer = run(windows, bundle, config(methods=methods, finetune={**SHORT, "steps": 5}), tmp_path)
    probe, tune, scratch = first.config.methods
    keys = [[r.plan.key(Cell(m, 1, 0)) for m in (probe, tune, scratch)] for r in (first, other, longer)]
    assert [a != b for a, b in zip(keys[0], keys[1], strict=True)] == [True, True, False]
    assert [a != b for a, b in zip(keys[0], keys[2], strict=True)] == [False, True, False]


def test_a_skeleton_encoder_trained_along_takes_the_teachers_place(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    methods = [
        {"name": "teacher", "inputs": "teacher"},
        {"name": "scratch spread", "start": "random", "learn": "all", "spread": {"inputs": "teacher"}},
    ]
    conf = config(methods=methods, references=[], labels=["all"])
    side = Side(name="tower 0", features=np.random.default_rng(1).normal(size=(len(windows), 3)).astype(np.float32))
    cached, _ = run(windows, bundle, conf, tmp_path).run()
    own, scratch = run(windows, bundle, conf, tmp_path, sides=[side]).run()
    assert (cached.model, own.model, scratch.model) == ("none", "mine", "none")
    share = [np.trace(c.counts.sum(axis=(0, 1))) / c.counts.sum() for c in (cached, own)]
    assert share[0] > 0.9
    assert share[1] < 0.6, "noise beside the encoder is what was asked for"
    with pytest.raises(ConfigError, match="1 of 2 encoders were exported with an encoder of another modality"):
        run(windows, bundle, conf, tmp_path, bundles=[bundle] * 2, weights=["a", "b"], sides=[side])
    missing = Side(name="tower 1", features=np.full((len(windows), 3), np.nan, dtype=np.float32))
    with pytest.raises(ConfigError, match="have no features of the video side"):
        run(windows, bundle, conf, tmp_path, sides=[missing]).run()


def test_one_encoder_a_seed(windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 encoders for 2 seeds"):
        run(windows, bundle, config(), tmp_path, bundles=[bundle] * 3, weights=["a", "b", "c"])
    conf = config(methods=[{"name": "probe"}], references=[])
    [one, *_] = run(windows, bundle, conf, tmp_path, bundles=[bundle] * 2, weights=["a", "b"]).run()
    [both, *_] = run(windows, bundle, conf, tmp_path).run()
    assert one.weights != both.weights == "w0"
    for place in (tmp_path / "seed0", tmp_path / "seed1"):
        bundle.save(place, lineage={})
    assert encoder_folders(tmp_path) == [tmp_path / "seed0", tmp_path / "seed1"]
    assert encoder_folders(tmp_path / "seed0") == [tmp_path / "seed0"]
    with pytest.raises(ConfigError, match="neither an encoder folder"):
        encoder_folders(tmp_path / "nowhere")


def test_differences_are_paired_by_person_and_seed(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    methods = [{"name": "probe"}, {"name": "random", "start": "random"}]
    conf = config(methods=methods, references=["random"])
    people = group_subjects(windows, conf)
    cells = run(windows, bundle, conf, tmp_path).run()
    twin = run(windows, bundle, conf, tmp_path, model="twin", weights=["w1"]).run()
    shared = {"encoder": {"name": "mine"}, "data": {"dataset": "made", "digest": "d"}}
    results = measure_labels(cells, people, conf, shared, against=twin)
    figures = {(r.probe, r.shots): r for r in results if r.kind == "labels" and r.metric == "accuracy"}
    differences = [r for r in results if r.kind == "labels-difference" and r.metric == "accuracy"]
    assert {(r.reference, r.shots) for r in differences} == {
        (name, n) for name in ("none: random", "twin: probe") for n in (1, 3, None)
    }
    for r in differences:
        if r.reference == "twin: probe":
            assert (r.value, r.low, r.details["p_holm"]) == (0, None, 1.0), "the same cells under another name"
        else:
            assert r.value == pytest.approx(figures["probe", r.shots].value - figures["random", r.shots].value)
        assert set(r.details["people"]) == {"s04", "s05"}
    table = labels_table(results, metric="accuracy")
    assert [*table.columns[3:6]] == ["1 label per class", "3 labels per class", "all labels"]
    assert [row[2] for row in table.rows] == ["probe", "random"]
    assert "over subjects and seeds" in table.caption
    markdown, page = write_report(results, tmp_path / "report")
    assert "## Limited labels" in markdown.read_text()
    assert "none: random" in page.read_text()


def test_the_identity_of_a_method_is_all_that_it_computes() -> None:
    plain = Method(name="one", spread=SpreadConfig())
    assert plain.identity() == plain.model_copy(update={"name": "other"}).identity()
    assert plain.identity() != Method(name="one", spread=SpreadConfig(rounds=10)).identity()
    heads = [Method(name="h", learn="all", along="skeleton", inputs=inputs).identity() for inputs in HEADS]
    assert heads[0] == heads[1] == heads[2], "one training has all heads"


def test_keys_carry_their_format(windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path) -> None:
    conf = config(methods=[{"name": "fine-tune", "learn": "all"}], references=[])
    plan = run(windows, bundle, conf, tmp_path).plan
    key = plan.key(plan.cells[0])
    assert key["format"] == 2
    later = {"clip", "decay", "norm"}  # left out at their defaults: cells of earlier versions are used again
    assert set(key["schedule"]) == set(type(conf.finetune).model_fields) - later
    assert not {"choose_per_class", "checks"} & set(key)
    changed = config(
        methods=[{"name": "t", "learn": "all"}],
        references=[],
        choose_per_class=2,
        checks=3,
        finetune={**SHORT, "clip": None, "decay": "constant", "norm": False},
    )
    key = run(windows, bundle, changed, tmp_path).plan.key(Cell(changed.methods[0], 1, 0))
    assert later <= set(key["schedule"])
    assert (key["choose_per_class"], key["checks"]) == (2, 3)


def test_damaged_cells_are_named(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.put({"a": 1}, {"x": np.arange(3)})
    assert store.get({"a": 1})["x"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == [store.path({"a": 1}).name], "nothing half-written stays"
    store.path({"a": 2}).write_bytes(store.path({"a": 1}).read_bytes())
    with pytest.raises(DataError, match="another key"):
        store.get({"a": 2})
    store.path({"a": 1}).write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read"):
        store.get({"a": 1})


def test_configs_that_cannot_be_meant_are_refused() -> None:
    for options, message in (
        ({"references": ["nobody"]}, "are not among the methods"),
        ({"labels": [1, 1]}, "distinct"),
        ({"methods": [{"name": "t", "inputs": "teacher", "learn": "all"}], "references": []}, "teacher is frozen"),
        ({"methods": [{"name": "a", "along": "skeleton"}], "references": []}, "along: skeleton requires learn: all"),
        ({"methods": [{"name": "a", "learn": "all", "along": "skelton"}]}, "did you mean 'skeleton'"),
        ({"methods": [{"name": "a", "learn": "all", "along": "video"}]}, "no trainable encoder of 'video'"),
        ({"methods": [{"name": "r", "start": "random", "spread": {}}], "references": []}, "no meaningful neighbours"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(**options)


def test_a_step_is_chosen_on_a_stated_number_of_validation_windows_and_reported(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    probabilities = Network.probabilities
    monkeypatch.setattr(
        Network, "probabilities", lambda self, x, *rest: (shown.append(len(x)), probabilities(self, x, *rest))[1]
    )
    methods = [{"name": "tuned", "learn": "all"}, {"name": "probe"}]
    schedule = {"epochs": 3, "batch": 4, "learning_rate": 0.05, "augment": [], "decay": "constant", "clip": None}
    options = {"labels": [3], "seeds": [0], "references": ["probe"], "checks": "epoch", "choose_per_class": 2}
    conf = config(methods=methods, finetune=schedule, report="chosen", **options)
    groups = group_subjects(windows, conf)
    tuned, probe = run(windows, bundle, conf, tmp_path).run()
    assert shown == [2 * 4, len(groups.test)] * 3, "after every epoch, on two windows of each of four classes"
    rows = groups.validation(2, 0)
    assert set(rows) < set(groups.choose)
    assert np.bincount(windows.labels[rows]).tolist() == [2] * 4
    assert not np.array_equal(rows, groups.validation(2, 1))
    assert np.array_equal(groups.validation(None, 0), groups.choose)
    lines = measure_labels([tuned, probe], groups, conf, {"encoder": {"name": "mine"}})
    line = next(r for r in lines if r.probe == "tuned" and r.metric == "accuracy" and not r.is_difference)
    assert tuned.chosen is not None
    accuracy = METRICS["accuracy"]
    assert line.value == pytest.approx(float(accuracy(tuned.chosen).mean()))
    assert line.details["last"] == pytest.approx(float(accuracy(tuned.counts).mean()))
    assert "chosen" not in line.details
    assert not any(r.metric in CALIBRATION and r.probe == "tuned" for r in lines), "bins are those of the last step"
    difference = next(r for r in lines if r.is_difference and r.metric == "accuracy")
    assert difference.value == pytest.approx(line.value - float(accuracy(probe.counts).mean()))
    recall = tuned.chosen[0].sum(axis=0)
    by_class = [line.details["by_class"][name][0] for name in line.details["classes"]]
    assert by_class == pytest.approx(np.diag(recall) / recall.sum(axis=1), abs=1e-6), "as many windows of each subject"
    assert "(last " in str(labels_table(lines, metric="accuracy").rows[0][3])
    for wrong in ({"choose": None, "report": "chosen"}, {"checks": "epoch"}):
        with pytest.raises(ConfigError, match=r"require validation subjects|finetune\.epochs is null"):
            config(**wrong)


def test_classes_with_fewer_windows_than_asked_for_are_named(
    windows: LabelledWindows, bundle: EncoderBundle, tmp_path: Path
) -> None:
    conf = config(methods=[{"name": "probe"}], references=[], labels=[1, 999], seeds=[0])
    groups = group_subjects(windows, conf)
    few, many = run(windows, bundle, conf, tmp_path).run()
    lines = measure_labels([few, many], groups, conf, {"encoder": {"name": "mine"}})
    remarks = {r.shots: r.details.get("remarks") for r in lines if r.metric == "accuracy"}
    assert remarks[1] is None
    assert remarks[999] is not None
    assert "fewer than 999 labelled windows in the pool: activity0 18, activity1 18" in remarks[999][0]
