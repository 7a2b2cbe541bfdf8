"""Array folders: rows, facts, views and splits; every fault of a declaration or an array is one error that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from eval.data.arrays import open_arrays
from eval.data.source import open_labelled
from eval.data.splits import Domain, EpisodeConfig, draw_episodes, refuse_training_subjects
from eval.options import make_domains
from eval.protocols.ood.config import Scenario
from eval.protocols.ood.scenario import divide, division, merge_windows
from imu_video.errors import ConfigError, DataError, LeakageError
from imu_video.shards.reading import index as reading
from tests.eval.made_arrays import EIGHT, FORTY_FIVE, array_folder, signals

POSITION = {
    "fact": "placement",
    "channels": [f"{s}_{a}" for s in ("acc", "gyr", "mag") for a in "xyz"],
    "slices": {"torso": ["torso.*"], "left_leg": ["left_leg.acc_?", "left_leg.gyr_?", "left_leg.mag_?"]},
}
DEVICE = {
    "fact": "device",
    "channels": ["torso_x", "torso_y", "torso_z"],
    "slices": {"accelerometer": ["torso.acc_?"], "magnetometer": ["torso.mag_?"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arrays")
    return array_folder(root, FORTY_FIVE, samples=16, views={"position": POSITION, "device": DEVICE})


def edited(root: Path, **changes: Any) -> Path:
    """The folder with changed keys of its declaration; None removes a key."""
    file = root / "arrays.yaml"
    content = {**yaml.safe_load(file.read_text()), **changes}
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    return root


def test_windows_labels_and_facts_belong_together(folder: Path) -> None:
    data = open_labelled(folder)
    windows = data.windows(splits=["test"])
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    assert windows.x.shape == (72, 45, 16)
    assert np.array_equal(windows.x, x[:, :, 0])
    assert [windows.classes[c] for c in windows.labels] == [f"activity{c}" for c in y[:, 0]]
    assert windows.subject.tolist() == [f"s{s:02d}" for s in y[:, 1]]
    assert (windows.channels, windows.units) == (tuple(FORTY_FIVE), FORTY_FIVE)
    assert (data.dataset, data.splits, data.placements, dict(data.tags)) == ("made", ("test",), ("unknown",), {})
    assert (windows.dataset, windows.digest, windows.window_s) == ("made", data.digest, 0.8)
    assert not windows.timed
    assert windows.remarks, "figures state that times are unknown"


def test_a_whole_array_is_not_copied(folder: Path) -> None:
    opened = open_arrays(folder)
    assert np.shares_memory(opened.windows(splits=["test"]).x, opened.x)
    assert not opened.x.flags.writeable


@pytest.mark.parametrize(("axes", "order"), [("N C 1 T", (0, 1, 2, 3)), ("N C T", (0, 1, 3)), ("N T C", (0, 3, 1))])
def test_every_order_of_the_axes_gives_the_same_windows(tmp_path: Path, axes: str, order: tuple[int, ...]) -> None:
    root = array_folder(tmp_path, EIGHT, axes=axes)
    x = np.load(root / "x.npy")
    np.save(root / "x.npy", x if len(order) == 4 else x[:, :, 0].transpose([{0: 0, 1: 1, 3: 2}[o] for o in order]))
    assert np.array_equal(open_labelled(root).windows().x, x[:, :, 0])


def test_a_view_cuts_every_window_into_its_slices(folder: Path) -> None:
    plain = open_labelled(folder).windows()
    data = open_labelled(f"{folder}#position")
    windows = data.windows()
    assert windows.channels == tuple(POSITION["channels"])
    assert windows.units is not None
    assert windows.units["mag_x"] == "uT"
    assert data.placements == ("left_leg", "torso")
    first = list(FORTY_FIVE).index
    for value, channel in (("torso", "torso.acc_x"), ("left_leg", "left_leg.acc_x")):
        own = windows.rows(placements=[value])
        assert np.array_equal(windows.x[own], plain.x[:, first(channel) : first(channel) + 9])
        assert np.array_equal(windows.labels[own], plain.labels)
        assert windows.sample[own].tolist() == list(range(len(plain)))
    assert data.digest != open_labelled(folder).digest
    assert [d["name"] for d in make_domains(data, ["test"], None, ["placement"])][1:] == [
        "placement=left_leg",
        "placement=torso",
    ]
    device = open_labelled(folder, view="device")
    assert device.tags == {"device": ["accelerometer", "magnetometer"]}
    assert device.windows().units == dict.fromkeys(DEVICE["channels"], "m/s^2 or uT")


def test_columns_become_facts_and_splits_name_subjects(tmp_path: Path) -> None:
    root = array_folder(tmp_path, EIGHT, subjects=3, samples=8)
    y = np.load(root / "y.npy")
    np.save(root / "y.npy", np.column_stack([y, y[:, 1] % 2, np.arange(len(y)) % 11]).astype(np.float64))
    edited(
        root,
        columns=["activity", "subject", "placement", "session"],
        values={"subject": ["ann", "bob", "cem"], "placement": ["arm", "leg"]},
        splits={"train": ["ann"], "test": ["cem", "bob"]},
        facts={"side": "left"},
    )
    data = open_labelled(root)
    assert (data.splits, data.placements, dict(data.tags)) == (("train", "test"), ("arm", "leg"), {"side": ["left"]})
    test = data.windows(splits=["test"])
    assert set(test.subject.tolist()) == {"bob", "cem"}
    assert data.windows(splits=["test"], placements=["leg"]).subject.tolist() == ["bob"] * 12
    assert sorted(set(test.facts["session"].tolist()))[:2] == ["00", "01"], "in the order of their numbers"
    with pytest.raises(ConfigError, match="'val'"):
        data.windows(splits=["val"])


def test_a_preset_needs_two_lines(tmp_path: Path) -> None:
    x, y = signals(dict.fromkeys(EIGHT, "1"), subjects=4, classes=6, windows=2, samples=20)
    np.save(tmp_path / "emg_x.npy", x[:, :, None])
    np.save(tmp_path / "y.npy", np.column_stack([y, y[:, 1] * 0]))
    (tmp_path / "arrays.yaml").write_text("preset: harood_emg\nx: emg_x.npy\n")
    windows = open_labelled(tmp_path).windows()
    assert (windows.dataset, windows.rate_hz, len(windows.classes)) == ("emg", 1000.0, 6)
    (tmp_path / "arrays.yaml").write_text("preset: harood_egm\n")
    with pytest.raises(DataError, match="did you mean 'harood_emg'"):
        open_labelled(tmp_path)


def test_validation_is_a_block_of_rows_and_its_neighbours_are_not_trained_on(folder: Path) -> None:
    scenario = Scenario(name="people", axis="subject", groups=3, validation=0.25)
    domains = divide(open_labelled(folder).windows(), scenario)
    split = division(domains, scenario, target=domains.names[0])
    windows = domains.windows
    train, valid = np.concatenate(split.train), np.concatenate(split.valid)
    for subject in np.unique(windows.subject[valid]):
        for label in range(3):
            own = (windows.subject == subject) & (windows.labels == label)
            rows = windows.sample[own]
            assert windows.sample[np.intersect1d(valid, np.flatnonzero(own))].tolist() == [rows.max()]
            assert rows.max() - 1 not in windows.sample[train], "it may overlap the validation window"
            assert rows.min() + 1 in windows.sample[train]


def test_scenarios_over_placements_keep_subjects_apart(folder: Path) -> None:
    scenario = Scenario(name="position", axis="placement", view="position")
    domains = divide(open_labelled(folder, view=scenario.view).windows(), scenario)
    split = division(domains, scenario, target="torso")
    assert domains.names == ("left_leg", "torso")
    sources = np.concatenate([*split.train, *split.valid])
    assert not set(domains.windows.subject[sources]) & set(domains.windows.subject[split.query])


def test_episodes_are_drawn_from_arrays(folder: Path) -> None:
    windows = open_labelled(folder).windows()
    episodes = draw_episodes(windows, Domain(name="people"), EpisodeConfig(shots=[2], episodes=3))
    assert all(len(e.query) for e in episodes.episodes)


def test_arrays_of_two_datasets_are_merged_if_they_measure_the_same(tmp_path: Path) -> None:
    one = open_labelled(array_folder(tmp_path / "a", EIGHT, dataset="a")).windows()
    two = open_labelled(array_folder(tmp_path / "b", EIGHT, dataset="b", classes=2)).windows()
    merged = merge_windows([one, two])
    assert set(merged.facts["dataset"].tolist()) == {"a", "b"}
    assert not merged.timed
    volts = open_labelled(array_folder(tmp_path / "c", dict.fromkeys(EIGHT, "V"), dataset="c")).windows()
    with pytest.raises(ConfigError, match="units"):
        merge_windows([one, volts])


def test_subjects_of_a_pretraining_with_other_names_are_refused(folder: Path) -> None:
    windows = open_labelled(folder).windows()
    rows = np.arange(len(windows))

    def lineage(subjects: list[str], dataset: str = "made") -> dict[str, Any]:
        return {"dataset": {"dataset": dataset, "subjects": {"train": subjects}}}

    with pytest.raises(LeakageError, match=r"p1.*cannot be compared"):
        refuse_training_subjects(lineage(["p1"]), windows, rows)
    with pytest.raises(LeakageError, match="pretrained on 1 of the query subjects"):
        refuse_training_subjects(lineage(["s01", "p1"]), windows, rows)
    assert refuse_training_subjects(lineage(["p1"], "other"), windows, rows) == []


def test_shards_come_through_the_same_door(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    index = SimpleNamespace(dataset="d", digest="0", splits={"test": 1}, placements=("waist",), tags={})
    monkeypatch.setattr(reading, "load_index", lambda path: index)
    data = open_labelled("data/d")
    assert data.index is index
    assert data.splits == ("test",)
    with pytest.raises(ConfigError, match="has no view 'position'"):
        open_labelled("data/d#position")
    with pytest.raises(ConfigError, match="neither video nor teacher features"):
        _ = open_labelled(folder).index
    with pytest.raises(ConfigError, match="names the view 'device', the config 'position'"):
        open_labelled(f"{folder}#device", view="position")
    with pytest.raises(ConfigError, match="'positoin' is not declared; did you mean 'position'"):
        open_labelled(f"{folder}#positoin")


def rewritten(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        np.save(root / name, change(np.array(np.load(root / name))), allow_pickle=True)

    return write


def put(value: float, *place: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float64)
        array[place] = value
        return array

    return change


def declared(**changes: Any) -> Callable[[Path], Any]:
    return lambda root: edited(root, **changes)


def cut(root: Path) -> None:
    (root / "x.npy").write_bytes((root / "x.npy").read_bytes()[:200])


FAULTS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda root: (root / "arrays.yaml").unlink(), "arrays without arrays.yaml"),
    (lambda root: (root / "y.npy").unlink(), "y.npy: no such file"),
    (cut, r"x\.npy: not a \.npy file of numbers"),
    (rewritten("x.npy", lambda x: np.array([{}, 1], dtype=object)), r"x\.npy: not a \.npy file of numbers"),
    (rewritten("x.npy", lambda x: x[:, :7]), r"shape \(72, 7, 1, 40\), expected numbers \(N, C, 1, T\) with C=8"),
    (rewritten("x.npy", lambda x: x[:, :, 0, 0]), r"shape \(72, 8\), expected numbers \(N, C, 1, T\)"),
    (rewritten("x.npy", lambda x: x.ravel()), r"shape \(23040,\), expected numbers \(N, C, 1, T\)"),
    (rewritten("x.npy", lambda x: x[0, 0, 0, 0]), r"shape \(\), expected numbers \(N, C, 1, T\)"),
    (rewritten("x.npy", lambda x: x[:5]), r"x\.npy has 5 windows, y\.npy has 72 rows"),
    (rewritten("x.npy", lambda x: x.astype(str)), "expected a non-empty array of numbers"),
    (rewritten("x.npy", put(np.inf, 3, 2, 0, 5)), "window 3, channel 'emg_3', sample 5 is inf"),
    (rewritten("x.npy", put(np.nan, 3, 2, 0, 5)), r"window 3, channel 'emg_3', sample 5 is nan.*\n.*missing: true"),
    (rewritten("x.npy", put(1e5, 3, 2, 0, 5)), r"channel 'emg_3' reaches 1e\+05, expected at most 1000 in 'mV'"),
    (rewritten("x.npy", lambda x: x * (np.arange(8) != 2)[:, None, None]), "sensor 'emg_3' is constant"),
    (rewritten("y.npy", put(3, 4, 0)), "row 4, column 'activity': 3, but `classes` has 3 names for 0 .. 2"),
    (rewritten("y.npy", put(0.5, 4, 1)), "row 4, column 'subject': 0.5, expected a whole number"),
    (rewritten("y.npy", put(-1, 4, 1)), r"row 4, column 'subject': -1"),
    (rewritten("y.npy", lambda y: y[:, :1]), r"shape \(72, 1\), expected one row per window and 2 columns"),
    (declared(rate=3), "unknown key 'rate'"),
    (declared(channels=None), "channels"),
    (declared(channels={"emg 1": "mV"}), "'emg 1' is not a channel name"),
    (declared(channels={**dict.fromkeys(list(EIGHT)[:7], "mV"), "acc_x": "g"}), "'acc_x' has the unit 'g'"),
    (declared(columns=["activity", "recording"]), "a fact 'recording' exists already"),
    (declared(columns=["subject", "tag"]), "columns must contain 'activity'"),
    (declared(values={"subject": ["a"]}), r"column 'subject': 5, but `values.subject` has 1 names"),
    (declared(splits={"train": ["s00"], "test": ["s01", "s00"]}), r"subjects \['s00'\] are listed twice"),
    (declared(splits={"test": ["s00", "s09"]}), r"no window has the subjects \['s09'\]"),
    (declared(splits={"test": ["s00"]}), r"no split contains the subjects \['s01', "),
    (declared(views={"v": {"fact": "device", "channels": ["a"], "slices": {"b": ["emg_9"]}}}), "no channel 'emg_9'"),
    (declared(views={"v": {"fact": "device", "channels": ["a"], "slices": {"b": ["emg_*"]}}}), "expected 1 distinct"),
    (declared(views={"v": {"fact": "subject", "channels": ["a"], "slices": {"b": ["emg_1"]}}}), "exists already"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_faults_are_errors_that_name_them(tmp_path: Path, fault: Callable[[Path], Any], words: str) -> None:
    root = array_folder(tmp_path, EIGHT)
    assert len(open_labelled(root).windows())
    fault(root)
    with pytest.raises(DataError, match=words) as error:
        open_labelled(root)
    assert str(tmp_path) in error.value.message


def test_missing_samples_are_declared(tmp_path: Path) -> None:
    root = array_folder(tmp_path, EIGHT, missing=True)
    rewritten("x.npy", put(np.nan, 3, 2, 0, 5))(root)
    assert np.isnan(open_labelled(root).windows().x).sum() == 1
    rewritten("x.npy", put(np.nan, 3))(root)
    with pytest.raises(DataError, match="window 3 has no measured sample"):
        open_labelled(root)


def test_the_length_of_gravity_reveals_a_wrong_unit(tmp_path: Path) -> None:
    units = {name: "g" if unit == "m/s^2" else unit for name, unit in FORTY_FIVE.items()}
    root = array_folder(tmp_path, FORTY_FIVE, samples=8)
    edited(root, channels=units)
    with pytest.raises(DataError, match=r"median length of 'torso.acc' is [\d.]+ g; with gravity it would be near 1"):
        open_labelled(root)
    assert len(open_labelled(edited(root, gravity="unknown")).windows())


def positions_in_rows(root: Path, *, order: str = "subject") -> tuple[np.ndarray, np.ndarray]:
    """An array folder of 45 channels, rewritten with one row of nine channels for each position; x and y before."""
    x, y = np.load(root / "x.npy")[:, :, 0], np.load(root / "y.npy")
    rows = [(subject, place, i) for i, (_, subject) in enumerate(y) for place in range(5)]
    if order == "subject":
        rows.sort()  # subject by subject, within it position by position
    parts = np.stack([x[i, 9 * place : 9 * place + 9] for _, place, i in rows])
    np.save(root / "x.npy", parts)
    np.save(root / "y.npy", np.array([(y[i, 0], y[i, 1], place) for _, place, i in rows]))
    return x, y


@pytest.mark.parametrize("order", ["subject", "window"])
def test_positions_in_separate_rows_are_joined(tmp_path: Path, order: str) -> None:
    declared = {"columns": ["activity", "subject", "position"], "join": "position", "views": {"device": DEVICE}}
    root = array_folder(tmp_path, FORTY_FIVE, samples=16, **declared)
    x, y = positions_in_rows(root, order=order)
    data = open_labelled(root)
    windows = data.windows()
    assert np.array_equal(windows.x, x)
    assert windows.labels.tolist() == y[:, 0].tolist()
    assert windows.subject.tolist() == [f"s{s:02d}" for s in y[:, 1]]
    assert "position" not in windows.facts
    assert np.array_equal(open_labelled(root, view="device").windows().x[0], x[0, :3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y[:, 2].__setitem__(slice(None), y[:, 2] % 4), "column 'position' has 4 values, expected 5"),
        (lambda y: y[0].__setitem__(2, 1), r"subject 0 has \[11, 13, 12, 12, 12\] rows of the values"),
        (lambda y: y[0].__setitem__(0, 2), "rows 0 and 12 are one window .* their activity is 2 and 0"),
    ],
)
def test_rows_that_are_not_the_same_windows_are_not_joined(tmp_path: Path, change: Any, words: str) -> None:
    declared = {"columns": ["activity", "subject", "position"], "join": "position"}
    root = array_folder(tmp_path, FORTY_FIVE, samples=16, **declared)
    positions_in_rows(root)
    y = np.load(root / "y.npy")
    change(y)
    np.save(root / "y.npy", y)
    with pytest.raises(DataError, match=words):
        open_labelled(root)
    with pytest.raises(DataError, match="join: expected a column of positions"):
        open_labelled(edited(root, join="place"))
