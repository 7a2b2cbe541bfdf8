"""The folder adapter on made-up studies: every way to declare, every fault with its file and line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from imu_video.config import validate
from imu_video.datasets.folder import Declaration, Folder
from imu_video.errors import ConfigError, DataError, RecordingError
from imu_video.recordings.quality import Inspector
from imu_video.recordings.recipe import Processed, Recipe
from imu_video.recordings.windows import WindowConfig, cut
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.folders.combine import merge_folders
from imu_video.types import GRAVITY
from tests.datasets.folder.studies import CHANNELS, RATE, N, declaration, declare, put, table, video


@pytest.fixture
def study(tmp_path: Path) -> Path:
    put(tmp_path, "s01/walk_wrist.csv")
    return declare(tmp_path)


def first(root: Path) -> Any:
    return next(Folder(root=str(root)).recordings())


# --------------------------------------------------------------------------------------------------------- reading


def test_pattern_units_and_clock(study: Path) -> None:
    put(study, "s02/sit_wrist.csv")
    put(study, "notes/readme.csv")
    source = datasets.build({"name": "folder", "root": str(study)})
    assert (source.name, source.licence, source.placements) == ("my-study", "CC-BY-4.0", ("wrist",))
    assert source.subjects() == ["s01", "s02"]
    recordings = list(source.recordings())
    assert [(r.name, r.subject, r.session) for r in recordings] == [("s01-walk", "s01", "1"), ("s02-sit", "s02", "1")]
    assert [r.name for r in source.recordings(["s02"])] == ["s02-sit"]
    stream = recordings[0].imu[0]
    np.testing.assert_allclose(stream.times, np.arange(N) / RATE)
    np.testing.assert_allclose(stream.values[0], np.arange(N) / 1000 * GRAVITY)
    assert stream.values[1].mean() == pytest.approx(GRAVITY, rel=0.01)
    assert stream.values[3:].std() == pytest.approx(np.deg2rad(20), rel=0.05)


def test_names_are_taken_apart_by_the_declared_placements(study: Path) -> None:
    (study / "s01" / "walk_wrist.csv").unlink()
    put(study, "s01/walk_up_left_wrist.csv")
    put(study, "s01/walk_up_wrist.csv")
    declare(study, placements={"wrist": None, "left_wrist": None})
    (recording,) = Folder(root=str(study)).recordings()
    assert recording.name == "s01-walk_up"
    assert [s.placement for s in recording.imu] == ["left_wrist", "wrist"]


def test_subjects_are_known_without_reading_signals(study: Path) -> None:
    (study / "s01" / "walk_wrist.csv").write_text("rubbish")
    assert Folder(root=str(study)).subjects() == ["s01"]


def test_parquet_equals_csv(study: Path) -> None:
    expected = first(study).imu[0]
    put(study, "s01/walk_wrist.parquet")
    declare(study, files={"imu": "{subject}/{recording}_{placement}.parquet"})
    got = first(study).imu[0]
    np.testing.assert_allclose(got.values, expected.values, atol=1e-9)
    np.testing.assert_allclose(got.times, expected.times)


def test_parquet_without_pyarrow_names_the_extra(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(study, "s01/walk_wrist.parquet")
    declare(study, files={"imu": "{subject}/{recording}_{placement}.parquet"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs pyarrow") as error:
        first(study)
    assert "imu-video[parquet]" in str(error.value.hint)


def test_placements_override_and_acc_only(study: Path) -> None:
    put(study, "s01/walk_waist.csv", table(acc=1000.0).rename(columns={"ay": "up"}))
    own = {"channels": {"acc_x": "ax", "acc_y": "up", "acc_z": "az"}, "units": {"acc": "mg"}}
    declare(study, placements={"wrist": None, "waist": own})
    recording = first(study)
    waist, wrist = recording.imu
    assert (waist.placement, waist.channels) == ("waist", ("acc_x", "acc_y", "acc_z"))
    np.testing.assert_allclose(waist.values, wrist.values[:3], rtol=1e-9)
    (window,) = cut(recording, WindowConfig(seconds=4.0))
    assert np.isnan(window.imu["waist"][3:]).all()
    assert np.isfinite(window.imu["wrist"]).all()


def test_one_file_for_several_devices(tmp_path: Path) -> None:
    wide = table().join(table().drop(columns="t").add_prefix("b_"))
    put(tmp_path, "s01.csv", wide)
    second = {"channels": {k: f"b_{v}" for k, v in CHANNELS.items()}}
    declare(tmp_path, files={"imu": "{subject}.csv"}, placements={"wrist": None, "waist": second})
    waist, wrist = first(tmp_path).imu
    np.testing.assert_allclose(waist.values, wrist.values)


@pytest.mark.parametrize(
    ("unit", "make"),
    [
        ("s", lambda s: s),
        ("us", lambda s: (s * 1e6).round().astype(np.int64)),
        ("ns", lambda s: (s * 1e9).round().astype(np.int64)),
        ("iso8601", lambda s: pd.to_datetime(s, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
        ("iso8601", lambda s: pd.to_datetime(s + 7200, unit="s").dt.strftime("%Y-%m-%d %H:%M:%S.%f+02:00")),
    ],
)
def test_time_units(study: Path, unit: str, make: Any) -> None:
    seconds = pd.Series(1.7e9 + np.arange(N) / RATE)
    values = make(seconds) if unit != "iso8601" else make(seconds.round(2))
    put(study, "s01/walk_wrist.csv", table().assign(t=np.asarray(values)))
    declare(study, imu={**declaration()["imu"], "time": {"column": "t", "unit": unit}})
    np.testing.assert_allclose(first(study).imu[0].times, 1.7e9 + np.arange(N) / RATE, atol=2e-6, rtol=0)


def test_headerless_files_with_a_fixed_rate(study: Path) -> None:
    path = put(study, "s01/walk_wrist.csv", table(), header=False, sep=";")
    path.write_text("made by a watch\n" + path.read_text())
    form = {
        **declaration()["imu"],
        "time": {"rate_hz": RATE, "start_s": 2.0},
        "columns": list(table().columns),
        "delimiter": ";",
        "skip_rows": 1,
    }
    declare(study, imu=form)
    stream = first(study).imu[0]
    np.testing.assert_allclose(stream.times, 2.0 + np.arange(N) / RATE)
    np.testing.assert_allclose(stream.values[0], np.arange(N) / 1000 * GRAVITY)


def test_empty_fields_are_missing_samples_and_blank_lines_nothing(study: Path) -> None:
    frame = table().astype(object)
    frame.loc[5, "ax"] = None
    path = put(study, "s01/walk_wrist.csv", frame)
    path.write_text(path.read_text().replace("\n100,", "\n\n100,", 1) + "\n\n")
    stream = first(study).imu[0]
    assert stream.values.shape == (6, N)
    assert np.argwhere(np.isnan(stream.values)).tolist() == [[0, 5]]


# ------------------------------------------------------------------------------------------------- video and labels


def test_video_offset_and_labels(study: Path) -> None:
    video(study / "s01" / "walk.mp4")
    (study / "s01" / "walk_labels.csv").write_text("start,end,label\n0,2000,walk\n2000,4000, sit \n")
    files = {
        "imu": "{subject}/{recording}_{placement}.csv",
        "video": "{subject}/{recording}.mp4",
        "labels": "{subject}/{recording}_labels.csv",
        "offset_s": 0.5,
    }
    declare(study, files=files, labels=["sit", "walk"])
    recording = first(study)
    assert [(s.start, s.end, s.label) for s in recording.segments] == [(0.0, 2.0, "walk"), (2.0, 4.0, "sit")]
    assert recording.streams["video"].times[0] == pytest.approx(0.5)
    windows = list(cut(recording, WindowConfig(seconds=1.0, clip_fps=10, clip_size=32)))
    assert [w.label for w in windows] == ["walk", "walk", "sit", "sit"]
    assert [w.streams.get("video") is not None for w in windows] == [False, True, True, False]
    assert np.abs(windows[1].streams["video"][:, 0, 0, 0].astype(int) - 8 * (np.arange(10) + 5)).max() <= 6
    declare(study, files={**files, "offset_s": {"s01-walk": 1.25}})
    assert first(study).streams["video"].times[0] == pytest.approx(1.25)
    declare(study, files={**files, "offset_s": {"s01-wlak": 1.25}})
    with pytest.raises(ConfigError, match="no entry for recording 's01-walk'"):
        first(study)


def test_a_list_of_recordings(study: Path) -> None:
    video(study / "cam" / "a.mp4")
    entry = {
        "subject": "s01",
        "name": "monday",
        "session": "2",
        "imu": {"wrist": "s01/walk_wrist.csv"},
        "video": {"file": "cam/a.mp4", "start": 750},
        "tags": {"device": "band"},
    }
    declare(study, files=None, recordings=[entry])
    recording = first(study)
    assert (recording.name, recording.session, recording.tags) == ("monday", "2", {"device": "band"})
    assert recording.streams["video"].times[0] == pytest.approx(0.75)


def test_video_start_on_an_iso_clock(study: Path) -> None:
    stamps = pd.to_datetime(1.7e9 + np.arange(N) / RATE, unit="s", utc=True).round("ms")
    put(study, "s01/walk_wrist.csv", table().assign(t=stamps.strftime("%Y-%m-%d %H:%M:%S.%f")))
    video(study / "a.mp4")
    form = {**declaration()["imu"], "time": {"column": "t", "unit": "iso8601"}}
    entry = {"subject": "s", "name": "r", "imu": {"wrist": "s01/walk_wrist.csv"}, "video": {"file": "a.mp4"}}
    declare(study, imu=form, files=None, recordings=[entry])
    with pytest.raises(ConfigError, match=r"a\.mp4 needs 'start'"):
        first(study)
    entry["video"] = {"file": "a.mp4", "start": "2023-11-14T22:13:20.500Z"}
    declare(study, imu=form, files=None, recordings=[entry])
    assert first(study).streams["video"].times[0] == pytest.approx(1.7e9 + 0.5, abs=1e-5)
    entry["video"] = {"file": "a.mp4", "start": "noon"}
    declare(study, imu=form, files=None, recordings=[entry])
    with pytest.raises(ConfigError, match=r"'noon'.*iso8601"):
        first(study)


def test_missing_video_is_refused_unless_optional(study: Path) -> None:
    files = {**declaration()["files"], "video": "{subject}/{recording}.mp4", "labels": "{subject}.csv"}
    declare(study, files=files)
    with pytest.raises(RecordingError, match=r"walk\.mp4: no such file"):
        first(study)
    declare(study, files={**files, "optional": ["video"]})
    with pytest.raises(RecordingError, match=r"s01\.csv: no such file"):
        first(study)
    declare(study, files={**files, "optional": ["video", "labels"]})
    assert first(study).streams.get("video") is None


def test_a_video_that_is_none_is_refused(study: Path) -> None:
    (study / "s01" / "walk.mp4").write_bytes(b"no video")
    declare(study, files={**declaration()["files"], "video": "{subject}/{recording}.mp4"})
    with pytest.raises(RecordingError, match=r"walk\.mp4 .* not a readable video"):
        list(cut(first(study), WindowConfig(seconds=1.0, clip_fps=5, clip_size=32)))


# ---------------------------------------------------------------------------------------------------------- faults


def text(**columns: Any) -> str:
    return table().assign(**columns).to_csv(index=False)


BACK = np.arange(N) * 10
BACK[6] = 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(t=BACK), r"walk_wrist\.csv, line 8: time 't' runs backwards: 20 after 50"),
        (text(t=np.arange(N) // 2), r"line 3: time 't' repeats: 0 after 0"),
        (text(t=[None, *range(1, N)]), r"line 2: time 't' is empty, expected ms"),
        (text(t=["soon", *range(1, N)]), r"line 2: 't' is 'soon', expected a number"),
        (text(ay=["1.0"] * 9 + ["high"] + ["1.0"] * (N - 10)), r"line 11: 'ay' is 'high', expected a number"),
        (text().replace("ay", "ay2", 1), r"no column 'ay'; did you mean 'ay2'"),
        (text(ay=np.ones(N) * GRAVITY), r"median acceleration is 9\.\d+ g when read as g.*\n.*look like m/s\^2"),
        (text(ax=np.nan, ay=np.nan, az=np.nan, gx=np.nan, gy=np.nan, gz=np.nan), "no numbers in the columns"),
        ("", r"walk_wrist\.csv: the file is empty"),
        ("t,ax,ay,az,gx,gy,gz\n", r"walk_wrist\.csv: no rows"),
        ("t,ax,ay,az,gx,gy,gz\n1,0,1,0,0,0,0\n", r"number of rows with samples is 1, expected at least 2"),
        (
            "t,ax,ay,az,gx,gy,gz\n0,1,0,2,0,3,0,1,2\n",
            r"line 2: 9 fields, expected 7 \(t, ax, .*\n.*decimal: ','",
        ),
        ("t,ax,ay,az,gx,gy,gz,ax\n0,1,0,2,0,3,0,1\n", r"the name 'ax' belongs to 2 columns \(2, 8\)"),
        (text().replace(",", ";"), r"no column 't'.*\n.*declare the delimiter of the file: `delimiter: \";\"`"),
        ("\xff\xfe\x00".encode("latin-1"), r"the file is UTF-16 text, expected UTF-8.*\n.*encoding: utf-16"),
    ],
)
def test_bad_imu_files(study: Path, content: str | bytes, message: str) -> None:
    path = study / "s01" / "walk_wrist.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordingError, match=message) as error:
        first(study)
    assert error.value.exit_code == 3
    assert "walk_wrist.csv" in str(error.value)


def test_repeated_and_backward_times_are_mended_on_request(study: Path) -> None:
    put(study, "s01/walk_wrist.csv", table().assign(t=np.arange(N) // 5 * 50))  # five samples a radio packet
    form = declaration()["imu"]
    with pytest.raises(RecordingError, match=r"repeats: 0 after 0\n.*repair: true"):
        first(study)
    declare(study, imu={**form, "time": {**form["time"], "repair": True}})
    stream = first(study).imu[0]
    np.testing.assert_allclose(np.diff(stream.times), 0.01, atol=2e-4)
    assert stream.clock is not None
    assert (stream.clock["model"], stream.clock["batch_samples"], stream.clock["lost"]) == ("packets", 5, 0)
    rows = Processed(first(study), Recipe(window=WindowConfig(seconds=1.0)), Inspector({})).clock_rows()
    assert [(row.placement, row.model, row.samples) for row in rows] == [("wrist", "packets", N)]
    put(study, "s01/walk_wrist.csv", table().assign(t=np.arange(N) * 10 + 3000 * (np.arange(N) % 50 > 40)))
    with pytest.raises(
        RecordingError, match=r"walk_wrist\.csv, 't': repair of the clock would move.*at most 1 s"
    ) as late:
        first(study)
    bound = int(str(late.value.hint).split("repair_within_s: ")[1].split("}")[0])
    declare(study, imu={**form, "time": {**form["time"], "repair": True, "repair_within_s": bound}})
    assert np.all(np.diff(first(study).imu[0].times) > 0)  # the hint, obeyed
    put(study, "s01/walk_wrist.csv", table().assign(t=7))
    with pytest.raises(RecordingError, match=r"walk_wrist\.csv, 't': time stamps never advance"):
        first(study)
    declare(study, imu={**form, "time": {"rate_hz": 100, "repair": True}})
    with pytest.raises(ConfigError, match="'repair' applies to a time column"):
        first(study)


def test_all_files_are_looked_for_before_any_is_read(study: Path) -> None:
    video(study / "s01" / "walk.mp4")
    put(study, "s02/walk_wrist.csv")
    put(study, "s03/walk_wrist.csv")
    declare(study, files={**declaration()["files"], "video": "{subject}/{recording}.mp4"})
    with pytest.raises(RecordingError, match=r"s02/walk\.mp4: no such file, and 1 more\n.*optional"):
        Folder(root=str(study))


def test_lines_are_counted_through_skipped_and_blank_ones(study: Path) -> None:
    lines = text(t=BACK).splitlines()
    lines.insert(3, "")
    (study / "s01" / "walk_wrist.csv").write_text("\n".join(["one", "two", *lines]))
    declare(study, imu={**declaration()["imu"], "skip_rows": 2})
    with pytest.raises(RecordingError, match="line 11:"):
        first(study)
    put(study, "s01/walk_wrist.parquet", table().assign(t=BACK))
    declare(study, files={"imu": "{subject}/{recording}_{placement}.parquet"})
    with pytest.raises(RecordingError, match=r"walk_wrist\.parquet, row 7:"):
        first(study)
    (study / "s01" / "walk_wrist.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordingError, match="not a readable Parquet"):
        first(study)


@pytest.mark.parametrize(("unit", "rate"), [("s", r"0\.1"), ("us", r"1e\+05")])
def test_times_in_another_unit_are_refused(study: Path, unit: str, rate: str) -> None:
    imu = {**declaration()["imu"], "time": {"column": "t", "unit": unit}}
    declare(study, imu=imu)
    with pytest.raises(
        RecordingError, match=rf"{rate} samples per second when 't' is read as {unit}, expected 1 \.\. 10000"
    ):
        first(study)
    declare(study, imu=imu, check_units=False)
    assert len(first(study).imu[0].times) == N


def test_unit_check_can_be_switched_off(study: Path) -> None:
    put(study, "s01/walk_wrist.csv", table(acc=0.01))
    with pytest.raises(RecordingError, match="does not determine the unit"):
        first(study)
    declare(study, check_units=False)
    assert first(study).imu[0].values.shape == (6, N)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("start,end,label\n5,2,walk\n", "line 2: 'walk' from 0.005 s to 0.002 s"),
        ("start,end,label\n1,2,\n", "line 2: the label 'label' is empty"),
        ("start,end,label\n1,2,wlak\n", "'wlak' is not declared; did you mean 'walk'"),
        ("start,stop,label\n1,2,walk\n", "no column 'end'"),
    ],
)
def test_bad_label_files(study: Path, content: str, message: str) -> None:
    (study / "labels.csv").write_text(content)
    declare(study, files={**declaration()["files"], "labels": "labels.csv"}, labels=["walk"])
    with pytest.raises(RecordingError, match=message):
        first(study)


def entry(**changes: Any) -> dict[str, Any]:
    return {"subject": "s", "name": "r", "imu": {"wrist": "a.csv"}, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": "x"}, "unknown key 'licens'; did you mean 'licence'"),
        ({"imu": {"tiem": {}}}, "unknown key 'imu.tiem'; did you mean 'time'"),
        ({"licence": None}, "key 'licence' is missing"),
        ({"imu": {**declaration()["imu"], "units": {"acc": "g"}}}, "declare 'units.gyr'"),
        ({"imu": {**declaration()["imu"], "units": {"acc": "G"}}}, "unknown unit 'G' of acc; known: m/s.2, g, mg"),
        ({"imu": {**declaration()["imu"], "channels": {"accx": "ax"}}}, "unknown channel 'accx'; did you mean 'acc_x'"),
        ({"imu": {**declaration()["imu"], "time": {}}}, "either 'column'"),
        ({"imu": {}}, "needs 'time' and 'channels'"),
        ({"placements": {"Left/Wrist": None}}, "letters, digits"),
        ({"placements": {"Left Wrist": None, "left_wrist": None}}, "'left_wrist' is declared twice"),
        ({"placements": {}}, "placements"),
        ({"files": None}, "either 'files'"),
        ({"files": {"imu": "{subjct}.csv"}}, r"variable {subjct}; did you mean 'subject'"),
        ({"files": {"imu": "{recording}.csv"}}, "has no variable {subject}"),
        ({"files": {"imu": "{subject}.csv", "video": "{placement}.mp4"}}, "variable {placement}"),
        ({"files": None, "recordings": [entry(), entry()]}, "two recordings are called 'r'"),
        ({"files": None, "recordings": [entry(imu={"wirst": "a"})]}, "'wirst' is not declared; did you mean 'wrist'"),
        ({"files": None, "recordings": [entry(video={"file": "a", "offset_s": 1, "start": 2})]}, "either 'offset_s'"),
        ({"dataset": "my study"}, "dataset"),
    ],
)
def test_bad_declarations(study: Path, changes: dict[str, Any], message: str) -> None:
    declare(study, **changes)
    with pytest.raises(ConfigError, match=message.replace("{", r"\{").replace("}", r"\}")) as error:
        Folder(root=str(study))
    assert error.value.exit_code == 2
    assert "dataset.yaml" in str(error.value)


def test_nothing_found_and_nothing_declared(study: Path, tmp_path: Path) -> None:
    declare(study, files={"imu": "data/{subject}.csv"})
    with pytest.raises(RecordingError, match=r"no file in .* matches files\.imu"):
        Folder(root=str(study))
    put(study, "s01/walk_ankle.csv")
    declare(study)
    with pytest.raises(RecordingError, match="placement 'ankle' is not declared"):
        Folder(root=str(study))
    (study / "dataset.yaml").unlink()
    with pytest.raises(DataError, match=r"contains no dataset\.yaml") as error:
        Folder(root=str(study))
    assert "docs/guides/your-recordings.md" in str(error.value.hint)
    with pytest.raises(RecordingError, match="does not exist") as error:
        Folder(root=str(study / "nowhere"))
    assert "dataset.root=FOLDER" in str(error.value.hint)


def test_the_declarations_in_the_docs_are_valid() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "guides" / "your-recordings.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    declared = [validate(yaml.safe_load(block), Declaration, source=str(page)) for block in blocks]
    assert [d.dataset for d in declared] == ["my-study", "phones", "pilot"]
    assert declared[0].format_of("waist").units == {"acc": "mg", "gyr": "deg/s"}
    assert declared[0].format_of("waist").time == declared[0].format_of("right_wrist").time


def test_people_of_two_studies_stay_two_people_when_merged(tmp_path: Path) -> None:
    indexes = []
    for name in ("spring", "autumn"):
        root = tmp_path / name
        put(root, f"s01/{name}_wrist.csv")
        declare(root, dataset=name)
        plan = {"dataset": {"name": "folder", "root": str(root)}, "window": {"seconds": 1.0, "rate_hz": 50}}
        config = validate({**plan, "splits": {"fractions": {"train": 1.0}}}, BuildConfig, source="test")
        indexes.append(build(config, tmp_path / f"{name}-data"))
        assert indexes[-1].dataset == name
    merged = merge_folders(indexes, tmp_path / "both")
    assert merged.split("train").subjects == ("autumn/s01", "spring/s01")
