"""`imu-video encode`, `imu-eval fit-head` and `imu-video predict` end to end on small made-up data."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from eval.cli import app as eval_app
from imu_video.bundle import pretrained
from imu_video.bundle.encoder import load_encoder
from imu_video.bundle.head import load_head
from imu_video.bundle.text import TextHead
from imu_video.cli.app import app
from imu_video.errors import CheckpointError, ConfigError, RecordingError
from imu_video.predict import predict_source
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.testing import write_folder
from imu_video.types import Window
from tests.bundle.shipped import ship_tiny
from tests.predict.conftest import motion


def run(command: object, *words: object) -> str:
    result = CliRunner().invoke(command, [str(w) for w in words], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return str(result.stdout)


@pytest.fixture(scope="module")
def head(encoder_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("head") / "head"
    text = run(eval_app, "fit-head", encoder_folder, data, "--out", out, "--accuracy", "0.95")
    assert "2 classes" in text
    return out


def test_encode_writes_what_the_library_computes(encoder_folder: Path, data: Path, walk: Path, tmp_path: Path) -> None:
    encoder = load_encoder(encoder_folder)
    run(app, "encode", encoder_folder, data, "--out", tmp_path / "data.parquet")
    table = pd.read_parquet(tmp_path / "data.parquet")
    columns = open_columns(load_index(data), "train")
    expected = encoder.encode(np.asarray(columns.imu[np.arange(len(columns)), 0]), rate_hz=50)
    written = table[table["recording"].str.startswith("train")][[f"f{i}" for i in range(encoder.feature_dim)]]
    assert np.allclose(written.to_numpy(), expected, atol=1e-6)
    assert table["label"].value_counts().to_dict() == {"rest": 24, "walk": 24}
    run(app, "encode", encoder_folder, walk, "--out", tmp_path / "walk.csv", "--stride", "1")
    rows = pd.read_csv(tmp_path / "walk.csv")
    assert rows["start_s"].tolist() == list(range(15))
    assert (rows["end_s"] - rows["start_s"]).eq(2.0).all()
    assert rows["measured"].eq(1.0).all()


def test_a_failed_encode_leaves_no_file(encoder_folder: Path, walk: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.parquet or \.csv"):
        run(app, "encode", encoder_folder, walk, "--out", tmp_path / "walk.txt")
    with pytest.raises(Exception, match="lasts"):
        run(app, "encode", encoder_folder, walk, "--out", tmp_path / "walk.csv", "--seconds", "60")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["folder.csv", "file.txt/a.csv"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    encoder_folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.txt").touch()
    for words in (["encode"], ["predict", "--head", "no-head"]):
        with pytest.raises(ConfigError, match=r"--out .* is not a f"):
            run(app, words[0], encoder_folder, "no-source", *words[1:], "--out", tmp_path / name)


@pytest.mark.parametrize(
    ("accuracy", "shown"),
    [
        ({"value": 1.0, "subjects": 6}, "accuracy 1.00 (made)"),
        ({"value": 0.5, "low": 0.25, "high": 0.75, "subjects": 6}, "accuracy 0.50 [0.25, 0.75] (made)"),
        ({"value": "x", "low": None}, None),
    ],
)
def test_the_page_shows_what_the_evidence_states(
    head: Path, tmp_path: Path, accuracy: dict[str, object], shown: str | None
) -> None:
    from imu_video.predict.run import write_predictions

    fitted = load_head(head)
    fitted.evidence["accuracy"] = accuracy
    write_predictions([], fitted, tmp_path / "a.html", title="t")
    page = (tmp_path / "a.html").read_text()
    assert shown in page if shown else "was not fitted on" not in page


def test_predict_finds_rest_and_walking(encoder_folder: Path, head: Path, walk: Path, tmp_path: Path) -> None:
    found = json.loads(run(app, "predict", encoder_folder, walk, "--head", head, "--json", "--threshold", "0"))
    intervals = found[0]["intervals"]
    at = {t: next(i["label"] for i in intervals if i["start_s"] <= t < i["end_s"]) for t in (2.0, 5.0, 11.0, 14.0)}
    assert at == {2.0: "rest", 5.0: "rest", 11.0: "walk", 14.0: "walk"}
    for ending in ("csv", "json", "html"):
        run(app, "predict", encoder_folder, walk, "--head", head, "--out", tmp_path / f"a.{ending}")
    assert json.loads((tmp_path / "a.json").read_text())["classes"] == ["rest", "walk"]
    assert set(pd.read_csv(tmp_path / "a.csv")["activity"].dropna()) <= {"rest", "walk"}
    page = (tmp_path / "a.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "device: |acc|" in page


def test_predict_prints_that_the_head_was_fitted_on_other_placements(
    encoder_folder: Path, head: Path, walk: Path, data: Path
) -> None:
    other = f"the head was fitted on other placements: {', '.join(load_head(head).spec.placements)}"
    assert f"note: walk: {other}" in run(app, "predict", encoder_folder, walk, "--head", head, "--placement", "ankle")
    text = run(app, "predict", encoder_folder, data, "--head", head)
    assert other not in text
    assert "note: train0 and 5 more: devices: " in text


def test_predict_reads_the_windows_of_a_data_folder(encoder_folder: Path, head: Path, data: Path) -> None:
    found = json.loads(run(app, "predict", encoder_folder, data, "--head", head, "--json"))
    assert [one["recording"] for one in found] == [f"{split}{i}" for split in ("train", "test") for i in range(3)]


def test_a_head_of_another_encoder_is_refused(head: Path, walk: Path, tmp_path: Path, encoder_folder: Path) -> None:
    other = load_encoder(encoder_folder)
    next(iter(other.encoder.parameters())).data.add_(1.0)
    other.save(tmp_path / "other")
    words = r"fitted on the features of mine \(encoder \w{12}, 80 features\), got other \(encoder"
    with pytest.raises(CheckpointError, match=words) as caught:
        run(app, "predict", tmp_path / "other", walk, "--head", head)
    assert "imu-eval fit-head ENCODER DATA --out HEAD" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match="got other"):  # the width is equal
        list(predict_source(load_encoder(tmp_path / "other"), load_head(head), walk))


def test_windows_of_another_length_are_noted_or_refused(
    text_encoder_folder: Path, head: Path, encoder_folder: Path, data: Path, walk: Path
) -> None:
    words = ("--text", "walking", "--text", "standing")
    short = json.loads(run(app, "predict", text_encoder_folder, walk, *words, "--seconds", "1.5", "--json"))
    assert short[0]["intervals"][-1]["end_s"] > 15
    with pytest.raises(ConfigError, match="windows have the length that the head was fitted on"):
        run(app, "predict", encoder_folder, walk, "--head", head, "--seconds", "1.5")
    classifier = load_encoder(text_encoder_folder).text_head.classifier(["walk", "stand"], seconds=1.0)
    notes = next(iter(predict_source(load_encoder(text_encoder_folder), classifier, data))).notes
    assert "windows of 2 s, but predictions are meant for windows of 1 s" in notes


def test_a_file_of_labels_may_have_comments_and_a_byte_order_mark(
    text_encoder_folder: Path, walk: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfwalking\r\n# at rest\r\n\r\nstanding\r\n")
    out = tmp_path / "a.json"
    run(app, "predict", text_encoder_folder, walk, "--labels", tmp_path / "labels.txt", "--out", out)
    assert json.loads(out.read_text())["classes"] == ["walking", "standing"]


def test_an_ambiguous_unit_is_settled_by_the_name_of_a_column(encoder_folder: Path, tmp_path: Path) -> None:
    time = np.arange(300) / 50
    rows = np.column_stack([time, 0 * time, 0 * time, 9.8 + 0.1 * np.sin(9 * time), *[0.01 * np.cos(time)] * 3])
    for unit, fits in (("", False), (" (rad/s)", True)):
        names = ["time_s", *(f"acc_{c}" for c in "xyz"), *(f"gyr_{c}{unit}" for c in "xyz")]
        path = tmp_path / "still.csv"
        np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt="%.5f")
        if fits:
            run(app, "encode", encoder_folder, path, "--out", tmp_path / "f.csv")
        else:
            with pytest.raises(RecordingError, match="unit of gyr") as caught:
                run(app, "encode", encoder_folder, path, "--out", tmp_path / "f.csv")
            assert "names of the columns (`gyr_x (rad/s)`), or: imu-video init" in str(caught.value.hint)


def test_names_are_text_on_the_page() -> None:
    from imu_video.predict.page import Predicted, render
    from imu_video.predict.timeline import Interval, Timeline

    line = Timeline(
        recording="<b>r</b>",
        start=np.array([0.0]),
        step_s=np.array([1.0]),
        probabilities=np.array([[1.0]]),
        intervals=(Interval(start=0.0, end=1.0, label='"><script>', probability=1.0),),
    )
    page = render([Predicted(timeline=line, notes=["<i>"])], ['"><script>'], title="<u>")
    assert not any(tag in page for tag in ("<b>", "<script>", "<i>", "<u>"))


def test_the_head_states_its_accuracy_on_subjects_left_out(head: Path) -> None:
    evidence = load_head(head).evidence
    assert evidence["accuracy"]["subjects"] == 6
    assert evidence["accuracy"]["value"] > 0.9
    assert set(evidence["recall"]) == {"rest", "walk"}


def test_recordings_of_one_name_are_kept_apart_by_subject(head: Path) -> None:
    from imu_video.predict.run import _by_recording
    from imu_video.predict.sources import Windows

    facts = {"subject": ["a", "a", "b", "b"], "session": ["1"] * 4, "recording": ["r"] * 4, "placement": ["wrist"] * 4}
    windows = Windows(
        x=np.zeros((4, 6, 8)),
        rate_hz=4.0,
        seconds=2.0,
        channels=(),
        start=np.array([0.0, 2.0, 0.0, 2.0]),
        facts={name: np.array(values) for name, values in facts.items()},
    )
    p = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = list(_by_recording([(windows, p)], load_head(head), 0.0, None))
    assert [(one.timeline.recording, [i.label for i in one.timeline.intervals]) for one in found] == [
        ("a/r", ["rest"]),
        ("b/r", ["walk"]),
    ]


def test_a_shipped_encoder_is_named_in_every_command(
    encoder_folder: Path, data: Path, walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name stands where a folder does: encode, fit-head, predict, few-shot evaluation."""
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "shipped")
    record = ship_tiny(tmp_path / "shipped", encoder=load_encoder(encoder_folder))
    listed = run(app, "list", "pretrained")
    assert f"imu-video/small\t{record.parameters:,}\t" in listed
    assert "https://example.org/world" in run(app, "list", "pretrained", "imu-video/small")
    assert json.loads(run(app, "list", "pretrained", "--json"))[0]["sha256"] == record.sha256
    with pytest.raises(ConfigError, match=r"no shipped encoder .*did you mean 'imu-video/small'"):
        run(app, "list", "pretrained", "imu-video/smal")
    monkeypatch.chdir(tmp_path)
    run(app, "encode", "imu-video/small", walk, "--out", "named.csv")
    run(app, "encode", encoder_folder, walk, "--out", "folder.csv")
    assert (tmp_path / "named.csv").read_text() == (tmp_path / "folder.csv").read_text()
    run(eval_app, "fit-head", "imu-video/small", data, "--out", "head")
    assert "recording" in run(app, "predict", "imu-video/small", walk, "--head", "head")
    shots = ("episodes.episodes=2", "episodes.shots=[1]", "references.untrained_seeds=[]", "--split", "test")
    text = run(eval_app, "fewshot", "imu-video/small", data, *shots, "--out", "results.jsonl")
    assert text
    line = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])
    assert line["encoder"]["name"] == "imu-video/small"
    assert line["encoder"]["weights"] == load_encoder(encoder_folder).weights_sha256[:12]


def test_one_row_per_window_has_the_mean_over_devices(encoder_folder: Path, tmp_path: Path) -> None:
    """Of a data folder with two devices, one of which is missing in some windows."""
    data, rng = tmp_path / "data", np.random.default_rng(0)

    def windows() -> Iterator[Window]:
        for i in range(6):
            worn = ("waist",) if i == 2 else ("waist", "wrist")
            imu = {name: motion("walk", 2.0, rng) for name in worn}
            yield Window(key=f"w{i}", recording="r", subject="s", session="1", start=2.0 * i, imu=imu, label="walk")

    write_folder(data, {"train": windows()}, rate_hz=50, placements=("waist", "wrist"))
    for out, words in (("each.csv", []), ("mean.csv", ["--mean-devices"])):
        run(app, "encode", encoder_folder, data, "--out", tmp_path / out, *words)
    each, mean = pd.read_csv(tmp_path / "each.csv"), pd.read_csv(tmp_path / "mean.csv")
    assert (len(each), len(mean)) == (11, 6)
    assert mean["placement"].tolist() == ["waist+wrist"] * 2 + ["waist"] + ["waist+wrist"] * 3
    encoder = load_encoder(encoder_folder)
    columns = open_columns(load_index(data), "train")
    expected = encoder.encode(np.asarray(columns.imu[np.arange(6)]), rate_hz=50)
    np.testing.assert_allclose(mean[[f"f{i}" for i in range(encoder.feature_dim)]], expected, atol=1e-5)


def test_zero_shot_by_text(text_encoder_folder: Path, encoder_folder: Path, walk: Path, tmp_path: Path) -> None:
    """Eight seconds of rest, then walking; the same time line from the options and from a file of activities."""
    words = ["--text", "standing", "--text", "walking"]
    text = run(app, "predict", text_encoder_folder, walk, *words, "--out", tmp_path / "line.json", "--json")
    intervals = json.loads(text)[0]["intervals"]
    assert intervals[0]["label"] == "standing"
    assert intervals[-1]["label"] == "walking"
    written = json.loads((tmp_path / "line.json").read_text())
    assert (written["classes"], written["threshold"]) == (["standing", "walking"], 0.5)
    (tmp_path / "labels.txt").write_text("standing\n\nwalking\n")
    again = run(app, "predict", text_encoder_folder, walk, "--labels", tmp_path / "labels.txt", "--json")
    assert json.loads(again)[0]["intervals"] == intervals
    run(app, "predict", text_encoder_folder, walk, *words, "--threshold", "0.999", "--out", tmp_path / "line.html")
    page = (tmp_path / "line.html").read_text()
    assert "Zero-shot by text: no labelled window of these activities was used" in page


def test_what_zero_shot_needs_is_named(
    text_encoder_folder: Path, encoder_folder: Path, walk: Path, tmp_path: Path
) -> None:
    for given, words in (
        ([], "got neither"),
        (["--head", "head", "--text", "walking"], "got both"),
        (["--text", "walking"], "two or more different activities"),
        (["--text", "walking", "--text", "knitting"], "'knitting' is not among the 2 of the encoder"),
        (["--labels", tmp_path / "none.txt"], "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(app, "predict", text_encoder_folder, walk, *given)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ConfigError, match="no activities"):
        run(app, "predict", text_encoder_folder, walk, "--labels", tmp_path / "empty.txt")
    with pytest.raises(ConfigError, match="this encoder has no text head"):
        run(app, "predict", encoder_folder, walk, "--text", "walking", "--text", "sitting")


def test_zero_shot_is_evaluated_with_the_text_head(text_encoder_folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    words = ["zeroshot.text.words={rest: standing}", "intervals.power=0.8"]
    text = run(eval_app, "zeroshot", text_encoder_folder, data, *words, "--mode", "text", "--out", out)
    assert "text head" in text
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    figure = next(line for line in lines if line["metric"] == "macro_f1")
    assert figure["value"] > 0.9
    assert (figure["chance"], figure["details"]["classes"]) == (0.5, ["rest", "walk"])
    with pytest.raises(ConfigError, match="--label-map requires --mode source or text"):
        run(eval_app, "zeroshot", text_encoder_folder, data, "--mode", "video", "--label-map", "map.yaml")


def test_without_the_extra_every_command_names_it(
    text_encoder_folder: Path, data: Path, walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts that the encoder does not store need the sentence encoder; stored ones do not."""
    bundle = load_encoder(text_encoder_folder)
    spec = bundle.text_head.spec.model_copy(update={"encoder": {"name": "sentence"}})
    bundle.text = TextHead(
        spec=spec, network=bundle.text_head.network, centre=torch.zeros(4), activities=bundle.text_head.activities
    )
    folder = bundle.save(tmp_path / "encoder")
    monkeypatch.setitem(sys.modules, "transformers", None)
    for command, *words in (
        (app, "predict", folder, walk, "--text", "walking", "--text", "knitting"),
        (eval_app, "zeroshot", folder, data, "--mode", "text", "zeroshot.text.words={rest: knitting}"),
    ):
        with pytest.raises(ConfigError, match="needs the package transformers") as caught:
            run(command, *words)
        assert "\n" not in caught.value.message
        assert str(caught.value.hint) == "pip install 'imu-video[text]'; without it: stand, walk"
    run(app, "predict", folder, walk, "--text", "walking", "--text", "standing")


def test_calibrated_probabilities(text_encoder_folder: Path, data: Path, walk: Path, tmp_path: Path) -> None:
    """`imu-eval calibrate-text`, and what the page of predictions says about it."""
    out = tmp_path / "calibrated"
    words = ["--split", "test", "--out", out]
    with pytest.raises(ConfigError, match="'rest' is not among the 2"):
        run(eval_app, "calibrate-text", text_encoder_folder, data, *words)
    named = tmp_path / "named"
    shutil.copytree(text_encoder_folder, named)
    config = json.loads((named / "config.json").read_text())
    config["text"]["activities"][0] = "rest"
    (named / "config.json").write_text(json.dumps(config))
    text = run(eval_app, "calibrate-text", named, data, *words)
    assert "expected calibration error" in text
    prompts = ["--text", "rest", "--text", "walking", "--out", tmp_path / "line.html"]
    run(app, "predict", out, walk, *prompts)
    assert "calibrated on validation subjects of the encoder&#x27;s training data (made;" in html_of(tmp_path)
    run(app, "predict", named, walk, *prompts)
    assert "the probabilities are not calibrated (" in html_of(tmp_path)


def html_of(folder: Path) -> str:
    return (folder / "line.html").read_text()
