"""HAROOD's scenarios on made-up arrays of the released shapes: domains, classes, widths, and whole runs of five."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from eval import cli
from eval.data.source import open_labelled
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.protocol import load
from eval.protocols.ood.runs import runs
from eval.protocols.ood.scenario import Domains, divide, division, merge_windows
from eval.protocols.ood.settings import apply_setting
from eval.protocols.ood.train import Task
from eval.results.store import read_results
from imu_video.config import find, read_yaml

CONFIGS = Path("configs/protocols/harood")


@dataclass(frozen=True)
class Released:
    """A file of the release: rows of channels x samples, ``repeats`` for each subject (or session), position, class."""

    preset: str
    channels: int
    samples: int
    subjects: int = 1
    positions: int = 1
    repeats: int = 3


@dataclass(frozen=True)
class Expected:
    """A scenario of methods 4.2: data, domains, classes, channels and the width of both backbones' features."""

    name: str
    data: list[Released]
    domains: int
    classes: int
    channels: int
    width: int
    kernel: int = 9


DSADS = Released("harood_dsads", 9, 125, subjects=8, positions=5)
PAMAP2 = Released("harood_pamap2", 9, 200, subjects=9, positions=3)
CROSS = [
    Released(f"harood_cross_dataset_{name}", 6, 50, subjects=2) for name in ("dsads", "uschad", "ucihar", "pamap2")
]
SCENARIOS = [
    Expected("dsads_person", [DSADS], 4, 19, 45, 800),
    Expected("uschad_person", [Released("harood_uschad", 6, 200, subjects=14)], 4, 12, 6, 1472, kernel=6),
    Expected("ucihar_person", [Released("harood_ucihar", 6, 128, subjects=30)], 5, 6, 6, 832),
    Expected("pamap2_person", [PAMAP2], 4, 12, 27, 1408),
    Expected("emg_person", [Released("harood_emg", 8, 200, subjects=36)], 4, 6, 8, 1408),
    Expected("wesad_person", [Released("harood_wesad", 8, 200, subjects=15)], 4, 4, 8, 1408),
    Expected("dsads_position", [DSADS], 5, 19, 9, 800),
    Expected("pamap2_position", [PAMAP2], 3, 12, 9, 1408),
    Expected("emg_time", [Released("harood_emg_time", 8, 200, subjects=4, repeats=6)], 4, 6, 8, 1408),
    Expected("dsads_device", [DSADS], 3, 19, 15, 896, kernel=5),
    Expected("cross_dataset", CROSS, 4, 6, 6, 256, kernel=6),
]
BY_NAME = {expected.name: expected for expected in SCENARIOS}


def write(folder: Path, released: Released) -> Path:
    """An array folder of made-up values: a rhythm of each class, a gain of each subject."""
    declared = read_yaml(find(Path("configs/arrays") / f"{released.preset}.yaml"))
    classes, rng = len(declared["classes"]), np.random.default_rng(0)
    time = np.arange(released.samples) / released.samples
    x, y = [], []
    for subject in range(released.subjects):
        for position in range(released.positions):
            for label in range(classes):
                for _ in range(released.repeats):
                    wave = (1 + 0.02 * subject) * np.sin(2 * np.pi * (2 + label) * time + position)
                    x.append(wave + 0.3 * rng.normal(size=(released.channels, released.samples)))
                    y.append((label, subject, position)[: len(declared["columns"])])
    folder.mkdir(parents=True)
    np.save(folder / "x.npy", np.array(x, dtype=np.float32))
    np.save(folder / "y.npy", np.array(y, dtype=np.float64))
    (folder / "arrays.yaml").write_text(yaml.safe_dump({"preset": released.preset}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Released, Path]:
    root = tmp_path_factory.mktemp("harood")
    every = dict.fromkeys(released for scenario in SCENARIOS for released in scenario.data)
    return {released: write(root / released.preset, released) for released in every}


def opened(expected: Expected, config: OodConfig, folders: dict[Released, Path]) -> Domains:
    view = config.scenario.view
    parts = [open_labelled(folders[released], view=view).windows() for released in expected.data]
    return divide(merge_windows(parts, rate_hz=config.rate_hz), config.scenario)


@pytest.mark.parametrize("expected", SCENARIOS, ids=lambda e: e.name)
def test_a_scenario_has_the_published_domains_and_widths(expected: Expected, folders: dict[Released, Path]) -> None:
    config = load(CONFIGS / f"{expected.name}.yaml", [], [], "all")
    domains = opened(expected, config, folders)
    assert config.scenario.name == expected.name
    assert (len(domains.names), len(domains.windows.classes)) == (expected.domains, expected.classes)
    assert domains.windows.x.shape[1:] == (expected.channels, expected.data[0].samples)
    split = division(domains, config.scenario, target=domains.names[0], seed=config.seeds[1])
    assert len(split.train) == expected.domains - 1
    for train, valid in zip(split.train, split.valid, strict=True):
        assert len(valid) == math.ceil((len(train) + len(valid)) / 5)
        assert set(domains.windows.labels[train]) == set(range(expected.classes))
    task = Task(domains, config)
    networks = {m.name: task.network(m, np.concatenate(split.train), 0) for m in config.models}
    widths = {name: network.encoder.feature_dim for name, network in networks.items()}
    assert widths == {"cnn": expected.width, "transformer": 64 * expected.channels}
    assert config.models[0].backbone == {"name": "harood_cnn", "norm": "batch"} | (
        {"kernel": expected.kernel} if expected.kernel != 9 else {}
    )


def test_every_shipped_scenario_is_tested() -> None:
    shipped = {path.stem for path in find(CONFIGS).glob("*.yaml")}
    assert shipped == {*BY_NAME, "published", "released", "hapt_person"}


def test_groups_of_subjects_are_the_published_ones(folders: dict[Released, Path]) -> None:
    groups = {
        "uschad_person": [[1, 11, 2, 0], [6, 3, 9, 5], [7, 13, 8, 10], [4, 12]],
        "pamap2_person": [[3, 2, 8], [1, 5], [0, 7], [4, 6]],
        "wesad_person": [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14]],
        "emg_person": [list(range(k, k + 9)) for k in range(0, 36, 9)],
        "ucihar_person": [list(range(k, k + 6)) for k in range(0, 30, 6)],
        "dsads_person": [[0, 1], [2, 3], [4, 5], [6, 7]],
    }
    for name, members in groups.items():
        scenario = load(CONFIGS / f"{name}.yaml", [], [], "all").scenario
        assert [[int(s[1:]) for s in own] for own in (scenario.domains or {}).values()] == members


def test_published_and_released_differ_in_what_the_files_name() -> None:
    """Both by name in one command: the kernel of the scenario stays, Adam, statistics and attention change."""
    scenario = CONFIGS / "uschad_person.yaml"
    published = load([scenario, CONFIGS / "published.yaml"], [], [], "all")
    released = load([scenario, CONFIGS / "released.yaml"], [], [], "all")
    assert published == load(scenario, [], [], "all")
    assert released.scenario == published.scenario
    assert released.training == published.training
    assert [a.name for a in released.algorithms] == [a.name for a in published.algorithms]
    assert [m.backbone["kernel"] for m in (published.models[0], released.models[0]) if m.backbone] == [6, 6]
    assert [(m.backbone or {}).get("attention") for m in (published.models[1], released.models[1])] == [
        None,
        "released",
    ]
    found = {}
    for run in runs(released, ["a", "b"]):
        training, arguments = apply_setting(released.training, dict(run.setting))
        found[run.algorithm] = (training.betas, training.statistics, arguments)
    assert {name: betas for name, (betas, *_) in found.items() if betas != (0.5, 0.9)} == {
        "fish": (0.9, 0.999), "fishr": (0.9, 0.999), "ermpp": (0.9, 0.999)
    }  # fmt: skip
    assert {name for name, (_, how, _) in found.items() if how == "per_domain"} == {
        "coral", "mmd", "lag", "mldg", "groupdro", "fish"
    }  # fmt: skip
    assert {n: a for n, (*_, a) in found.items() if a} == {"urm": {"adversary_betas": (0.9, 0.999)}}
    schedule = published.training
    evaluated = [s for s in range(1, 12001) if schedule.evaluates(s, 12000)]
    assert evaluated[:3] == [100, 400, 700]
    assert evaluated[-2:] == [11800, 12000]


RUN = ["algorithms=[erm, coral]", "training.steps=2", "training.batch=4", "seeds=[0]", "training.first_evaluation=2"]
# Slow, because each is a whole command with two backbones, some of them on 45 channels.
SLOW = [
    pytest.param(name, target, marks=pytest.mark.slow)
    for name, target in (
        ("dsads_person", "p1"),
        ("pamap2_position", "chest"),
        ("emg_time", "t3"),
        ("dsads_device", "gyroscope"),
    )
]


@pytest.mark.parametrize(("name", "target"), [("cross_dataset", "ucihar"), *SLOW])
def test_a_scenario_runs_end_to_end(name: str, target: str, folders: dict[Released, Path], tmp_path: Path) -> None:
    expected = BY_NAME[name]
    out = tmp_path / "r.jsonl"
    words: list[object] = ["ood", *(folders[released] for released in expected.data), *RUN]
    words += [f"scenario.targets=[{target}]", "--folder", tmp_path / "runs"]
    configs = [CONFIGS / f"{name}.yaml", CONFIGS / "released.yaml"]
    words += [word for config in configs for word in ("--config", config)]
    done = CliRunner().invoke(cli.app, [str(w) for w in [*words, "--out", out]])
    assert done.exit_code == 0, done.output + repr(done.exception)
    results, _ = read_results([out])
    figures = [r for r in results if r.kind == "ood" and r.metric == "accuracy"]
    assert {(r.model, r.probe) for r in figures} == {
        (f"{algorithm} on {model}", rule)
        for algorithm in ("erm", "coral")
        for model in ("cnn", "transformer")
        for rule in ("source", "oracle")
    }
    assert all(list(r.details["by_target"]) == [target] for r in figures)
    assert all("overlap training windows in time" in r.details["remarks"][0] for r in figures)
    assert "overlap training windows" in done.output
