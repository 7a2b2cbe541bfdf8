"""Protocol files: which commands their steps become, and one message for every fault before anything runs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.cli import app
from eval.protocols.limited_labels.protocol import LimitedLabels
from eval.protocols.ood.protocol import DomainShift
from eval.published import Call, plan, read_protocol, shipped_configs, shipped_protocols
from imu_video.config import load_config
from imu_video.errors import ConfigError

FILE = """
summary: Made for tests.
steps:
  - name: few
    protocol: labels
    config: {extends: own.yaml, finetune: {epochs: 3, learning_rate: 0.000001}}
  - {protocol: retrieval, options: {gallery: 8, split: [val, test]}, optional: true}
  - {name: shift, protocol: ood, config: configs/eval/ood/hapt_person.yaml, options: {encoder: [mine=enc], dry: true}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text("labels: [2]\nfinetune: {batch: 16}\n")
    (tmp_path / "made.yaml").write_text(FILE)
    return tmp_path / "made.yaml"


def planned(
    file: Path, *overrides: str, folders: tuple[str, ...] = ("enc", "a", "b"), **options: list[str]
) -> list[Call]:
    return plan(file, folders, overrides, out=Path("res/r.jsonl"), **options)  # type: ignore[arg-type]


def test_steps_become_commands_that_their_own_parsers_accept(file: Path) -> None:
    calls = planned(file)
    assert [(c.step.label, c.words[0]) for c in calls] == [
        ("few", "labels"),
        ("few", "labels"),
        ("retrieval", "retrieval"),
        ("retrieval", "retrieval"),
        ("shift", "ood"),
    ]
    few, again, retrieval, _, shift = calls
    assert again.words[1:3] == ("enc", "b")
    assert few.words == (
        *("labels", "enc", "a", "--config", str(file.parent / "own.yaml")),
        *("finetune={batch: 16, epochs: 3, learning_rate: 1.0e-06}", "--out", "res/r.jsonl"),
    )
    assert isinstance(few.protocol, LimitedLabels)
    assert few.protocol.overrides is not None
    tuned = load_config(few.protocol.config, LimitedLabels.Config, few.protocol.overrides)
    assert (tuned.labels, tuned.finetune.batch, tuned.finetune.epochs) == ([2], 16, 3)
    assert tuned.finetune.learning_rate == 1e-6
    assert shlex.split(retrieval.line)[-8:-2] == ["--gallery", "8", "--split", "val", "--split", "test"]
    assert isinstance(shift.protocol, DomainShift)
    assert shift.protocol.data == [Path("a"), Path("b")]
    assert shift.protocol.folder == Path("res/r.cells/shift"), "each benchmark has its own folder of runs"
    assert shift.protocol.config.models[-1].encoder == "enc"
    assert shift.protocol.dry


def test_a_config_of_several_files_is_merged_in_order(file: Path) -> None:
    (file.parent / "more.yaml").write_text("seeds: [5]\n")
    own = "config: {extends: [configs/eval/ood/hapt_person.yaml, more.yaml], training: {steps: 7}}"
    file.write_text(FILE.replace("config: configs/eval/ood/hapt_person.yaml", own))
    (shift,) = planned(file, only=["shift"])
    assert shift.words.count("--config") == 2
    assert isinstance(shift.protocol, DomainShift)
    assert (shift.protocol.config.seeds, shift.protocol.config.training.steps) == ([5], 7)
    assert shift.protocol.config.training.evaluate_every == 50, "other keys of the section stay"
    file.write_text(FILE.replace("extends: own.yaml", "extends: [own.yaml, own.yaml]"))
    with pytest.raises(ConfigError, match="protocol 'labels' has one config file, got 2"):
        planned(file)


def test_a_file_without_a_step_on_an_encoder_takes_data_folders_alone(file: Path) -> None:
    (call,) = planned(file, folders=("a",), only=["shift"])
    assert call.words[:2] == ("ood", "a")
    with pytest.raises(ConfigError, match=r"expected ENCODER and DATA \(step 'few' evaluates an encoder\), got a"):
        planned(file, folders=("a",))


def test_overrides_reach_the_steps_that_have_the_key(file: Path) -> None:
    few, _, _, _, shift = planned(file, "seeds=[7]", "few.finetune.epochs=1", "workers=2", "shift.models.0.lr=0.5")
    assert few.words[-4:-2] == ("seeds=[7]", "finetune.epochs=1")
    assert isinstance(shift.protocol, DomainShift)
    assert (shift.protocol.workers, shift.protocol.config.seeds) == (2, [7])
    assert shift.protocol.config.models[0].lr == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("protocol: labels", "protocol: labls", r"key 'steps.0.protocol': no protocol 'labls'; did you mean 'labels'"),
        ("summary:", "sumary:", "unknown key 'sumary'; did you mean 'summary'"),
        ("gallery: 8", "galery: 8", "step 'retrieval': no option 'galery'; did you mean 'gallery'"),
        ("gallery: 8", "gallery: eight", "step 'retrieval': .*--gallery.*--gallery eight"),
        ("gallery: 8", "config: x.yaml", "step 'retrieval': 'config' is not an option of a step"),
        ("gallery: 8", "encoder: x", "step 'retrieval': 'encoder' is not an option of a step"),
        ("epochs: 3", "epocs: 3", r"unknown key 'finetune.epocs'; did you mean 'epochs'"),
        ("own.yaml", "owned.yaml", "made.yaml: step 'few': config owned.yaml: No such file"),
        ("name: shift", "name: few", r"steps must have distinct names, got \['few', 'retrieval', 'few'\]"),
        ("config: configs/eval/ood/hapt_person.yaml", "config: {seeds: [0]}", "step 'shift': a config without `ext"),
        ("dry: true", "train: tail", "--train 'tail': expected all, head or wise"),
        ("steps:", "stepz:", "no key 'steps'; it is not a published protocol"),
    ],
)
def test_a_fault_of_any_step_is_named_before_anything_runs(file: Path, old: str, new: str, message: str) -> None:
    assert old in FILE
    file.write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        planned(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sedes=[7]"], "no step of .* has the key; did you mean 'seeds'"),
        (["few.sedes=[7]"], "step 'few' of .* has no such key; did you mean 'seeds'"),
        (["finetune.epochs=many"], "step 'few': .*finetune.epochs"),
        (["workers=few"], "step 'shift': .*--workers.*--workers few"),
    ],
)
def test_overrides_that_fit_nowhere_are_refused(file: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(file, *words)
    with pytest.raises(ConfigError, match=r"--step fw: no such step in .*; did you mean 'few'"):
        planned(file, only=["fw"])


def test_the_config_of_one_command_names_that_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read_protocol(Path("configs/eval/ood/hapt_person.yaml"))
    assert str(refused.value.hint).startswith("imu-eval ood data/hapt --config configs/eval/ood/hapt_person.yaml")


@pytest.mark.parametrize("name", shipped_protocols())
def test_shipped_protocols_plan(name: str) -> None:
    assert planned(Path(name))


def test_dry_run_prints_the_commands_and_list_the_shipped_files(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    done = CliRunner().invoke(app, ["run", str(file), "enc", "a", "seeds=[7]", "--dry-run", "--out", str(out)])
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["labels", "retrieval", "ood"]
    assert "'seeds=[7]'" in lines[0]
    assert not out.exists()
    missing = CliRunner().invoke(app, ["run", str(file), "enc", "a"])
    assert "enc: no such folder" in str(missing.exception)
    rows = [row.split("\t") for row in CliRunner().invoke(app, ["list", "published"]).stdout.splitlines()]
    assert [row[0] for row in rows] == ["name", *shipped_protocols(), "config of one protocol", *shipped_configs()]
    assert all(command.startswith("imu-eval ") for command in shipped_configs().values())
    one = CliRunner().invoke(app, ["list", "published", str(file)]).stdout
    assert "retrieval\tretrieval\tyes" in one


def test_an_encoder_in_the_place_of_data_and_the_reverse_are_refused_before_the_run(file: Path, tmp_path: Path) -> None:
    encoder, data = tmp_path / "encoder", tmp_path / "data"
    for folder, names in ((encoder, ("config.json", "model.safetensors")), (data, ("index.json",))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("{}")
    assert planned(file, folders=(str(encoder), str(data)))
    with pytest.raises(ConfigError, match=r"expected an encoder folder, got .*data, a data folder") as refused:
        planned(file, folders=(str(data), str(data)))
    assert str(refused.value.hint).endswith("ENCODER DATA")
    alone = {"only": ["shift"]}
    assert planned(file, folders=(str(data),), **alone)
    with pytest.raises(
        ConfigError, match=r"expected a data folder, got .*encoder, an encoder folder; no step"
    ) as refused:
        planned(file, folders=(str(encoder), str(data)), **alone)
    assert str(refused.value.hint) == f"imu-eval run {file} DATA"
