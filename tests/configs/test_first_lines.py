"""The first line of every YAML file is a command, and the command loads the file: parsed and validated, not run."""

from __future__ import annotations

import fnmatch
import importlib.util
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

import eval.cli
import imu_video.cli.app
import pretrain.cli
from eval.config import EvalConfig
from eval.data.labelmaps import load_label_maps
from eval.probes import probes
from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.ood.protocol import load as load_benchmark
from eval.protocols.ood.runs import runs
from eval.protocols.representation.config import RepresentationConfig
from eval.published import inputs_of, plan
from imu_video import registry
from imu_video.bundle.ship import Facts
from imu_video.config import apply_override, find, load_config, read_yaml
from imu_video.runtime.distributed import World
from imu_video.shards.building.build import BuildConfig
from pretrain.config import PretrainConfig
from pretrain.prepare.prepare import check_request

ROOT = Path(__file__).resolve().parents[2]
# Declarations of array folders are named by the key `preset` of a file, not by a command: test_array_presets.py.
FILES = sorted(
    p
    for p in [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "studies").rglob("*.yaml")]
    if p.parent != ROOT / "configs" / "arrays"
)
GROUPS = {"imu-video": imu_video.cli.app.app, "imu-pretrain": pretrain.cli.app, "imu-eval": eval.cli.app}
SHIP = "python -P -m imu_video.bundle.ship "
"""What is stated about shipped encoders is loaded by a module that is no console command."""
RUNNER = "python -P studies/"
"""The plan of a study with a class `Plan` is loaded by the study's own runner."""
Params = Mapping[str, Any]


def parse(line: str) -> tuple[str, Params]:
    """``imu-eval fewshot`` and its options and arguments, as the command's own parser reads them."""
    program, name, *words = shlex.split(line)
    group = typer.main.get_command(GROUPS[program])
    context = group.make_context(program, [name])
    command = group.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, f"{program} has no command {name}"
    return f"{program} {name}", command.make_context(name, words).params


def build(params: Params) -> None:
    config = load_config(params["config"], BuildConfig, params["overrides"] or [])
    registry.datasets.arguments(config.dataset, seed=config.seed)


def embed(params: Params) -> None:
    entry = read_yaml(params["teacher"])
    for override in params["overrides"] or []:
        apply_override(entry, override)
    registry.teachers.arguments(entry)


def launch(params: Params) -> None:
    config = load_config(params["config"], PretrainConfig, params["overrides"] or [])
    check_request(config, World())


def evaluate(params: Params) -> None:
    config = load_config(params["config"], EvalConfig, params["overrides"] or [])
    for entry in config.probe_entries:
        probes.arguments(entry)
    if params.get("label_map") is not None:
        load_label_maps(params["label_map"])


def labels(params: Params) -> None:
    config = load_config(params["config"], LabelsConfig, params["overrides"] or [])
    probes.arguments(config.probe)


def ood(params: Params) -> None:
    overrides = [*(params["set_"] or []), *(word for word in params["data"] if "=" in word)]
    config = load_benchmark(params["config"], overrides, params["encoder"] or [], params["train"])
    assert runs(config, ["a", "b", "c"])
    for model in config.models:
        if model.backbone is not None:
            registry.encoders.arguments(model.backbone, channels=6, samples=128)


def published(params: Params) -> None:
    folders, overrides = inputs_of(params["inputs"])
    for call in plan(params["file"], folders, overrides, out=Path("results.jsonl"), only=params["step"] or []):
        command, own = parse(call.line)
        LOADERS[command](own)


def representation(params: Params) -> None:
    config = load_config(params["config"], RepresentationConfig, params["overrides"] or [])
    for entry in config.probe_entries:
        probes.arguments(entry)


LOADERS: dict[str, Callable[[Params], None]] = {
    "imu-video build": build,
    "imu-video embed": embed,
    "imu-pretrain launch": launch,
    "imu-eval fewshot": evaluate,
    "imu-eval retrieval": evaluate,
    "imu-eval run": published,
    "imu-eval zeroshot": evaluate,
    "imu-eval labels": labels,
    "imu-eval ood": ood,
    "imu-eval representation": representation,
}


def check(line: str) -> None:
    """Parse a command line and validate what it loads, as the command does before it runs."""
    if line.startswith(SHIP):
        load_config(shlex.split(line)[-1], Facts)
        return
    if line.startswith(RUNNER):
        _, _, script, name, *words = shlex.split(line)
        spec = importlib.util.spec_from_file_location("runner_of_a_study", ROOT / script)
        assert spec is not None
        assert spec.loader is not None
        runner: Any = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = runner  # its annotations are looked up there
        spec.loader.exec_module(runner)
        steps: Any = typer.main.get_command(runner.app)
        load_config(steps.commands[name].make_context(name, words).params["config"], runner.Plan)
        return
    command, params = parse(line)
    LOADERS[command](params)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT).with_suffix("")))
def test_the_command_of_the_first_line_loads_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))  # runners of studies add the clone
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = str(path.relative_to(ROOT))
    assert first.startswith(("# imu-", f"# {SHIP}", f"# {RUNNER}")), first
    assert named in first, f"the command does not load {named}"
    check(first.removeprefix("# "))


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "ood"], ids=lambda p: p.stem)
def test_scenarios_are_named_after_their_files(path: Path) -> None:
    assert load_benchmark(path, [], [], "all").scenario.name == path.stem


def test_files_that_the_command_cannot_load_are_found(tmp_path: Path) -> None:
    """The check above can fail: a wrong key, a wrong argument, an unknown component, a command that does not exist."""
    good = "configs/pretrain/simclr_imu.yaml"
    bad = tmp_path / "bad.yaml"
    for text, line, words in [
        ("data: {rot: d}", f"imu-pretrain launch {bad}", "unknown key 'data.rot'"),
        (f"extends: {ROOT / good}\nencoder: {{name: resnet1d, widht: 3}}", f"imu-pretrain launch {bad}", "'widht'"),
        ("name: skeletn", f"imu-video embed DATA {bad}", "skeletn"),
        ("probes: [rigde]", f"imu-eval fewshot ENCODER DATA --config {bad}", "rigde"),
        ("{}", f"imu-eval fewshot ENCODER DATA --confg {bad}", "--confg"),
        ("name: nt_xent\ntemprature: 1", f"imu-pretrain launch {good} loss={bad}", "'temprature'"),
    ]:
        bad.write_text(text)
        # The parser's own class of errors depends on the version of typer.
        with pytest.raises(Exception, match=words):
            check(line)


def test_shipped_files_are_found_from_any_folder_and_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["imu_video.configs"]
    for path in (p for p in (ROOT / "configs").rglob("*") if p.is_file()):
        inside = path.relative_to(ROOT / "configs")
        assert find(Path("configs") / inside) == path
        # A `*` of package data stands for one folder level; that of fnmatch for any number.
        levels = [p for p in patterns if p.count("/") == len(inside.parts) - 1]
        assert any(fnmatch.fnmatch(str(inside), pattern) for pattern in levels), f"{inside} is not package data"
