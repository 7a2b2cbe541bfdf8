"""The kinds of configs that the sweep of `test_configs.py` mutates: a document of each, and what is prepared from it.

Whatever happens before the first update or window of a long run is part of it: models, episodes, plans and the
recordings of a small study are made, nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from eval.config import EvalConfig
from eval.data.labelmaps import load_label_maps
from eval.data.splits import draw_episodes
from eval.data.windows import load_windows
from eval.probes import probes
from eval.protocols.fewshot.supervised import SupervisedReference
from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.inputs import Features
from eval.protocols.limited_labels.plan import Plan
from eval.protocols.limited_labels.subjects import group_subjects
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.grid import Folder, plan
from eval.protocols.ood.scenario import divide
from eval.protocols.ood.train import Task
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.config import load_config, read_yaml
from imu_video.shards.building.build import BuildConfig, build, open_source
from imu_video.shards.building.build import plan as plan_build
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window
from pretrain.config import PretrainConfig
from pretrain.prepare.prepare import prepare
from tests.pretrain.conftest import write_teacher

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STUDIES = CONFIGS.parent / "studies"


@dataclass(frozen=True)
class Kind:
    """One kind of config.

    Args:
        document: content of a valid one.
        run: reads and prepares the file; raises an ImuVideoError that names it.
        name: file name where the reader expects one.
    """

    document: dict[str, Any]
    run: Callable[[Path], Any]
    name: str = "mutant.yaml"


def kinds(folder: Path) -> dict[str, Kind]:
    """Every kind, on a small data folder and a small study that are written here."""
    index = _data(folder / "data")
    study(folder / "study")
    windows = load_windows(index, splits=list(index.splits))
    spec = InputSpec(rate_hz=25, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.5,) * 3)
    bundle = EncoderBundle(spec=spec, encoder={"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 8})

    motion = np.random.default_rng(0).normal(0, 1, (2, 6, 50)).astype(np.float32)
    motion[:, 2] += 9.8

    def pretrain(path: Path) -> None:
        with prepare(load_config(path, PretrainConfig), folder=path.parent / "run"):
            pass

    def builds(path: Path) -> None:
        build(load_config(path, BuildConfig), path.parent / "out")

    def plans(path: Path) -> None:
        config = load_config(path, BuildConfig)
        source = open_source(config)
        plan_build(config, config.resolved(), source)

    def declared(path: Path) -> None:
        for file in (folder / "study").glob("s*"):
            (path.parent / file.name).symlink_to(file)
        config = {
            "dataset": {"name": "folder", "root": str(path.parent)},
            "splits": {"fractions": {"train": 0.5, "test": 0.5}},
        }
        build(BuildConfig.model_validate(config), path.parent / "out")

    def episodes(path: Path) -> None:
        config = load_config(path, EvalConfig)
        for entry in config.probe_entries:
            probes.build(entry)
        for domain in config.domains:
            draw_episodes(windows, domain, config.episodes)
        supervised = config.references.supervised
        SupervisedReference(spec=bundle.spec, encoder=bundle.encoder_config, config=supervised)

    def cells(path: Path) -> None:
        config = load_config(path, LabelsConfig)
        probes.build({"name": config.probe} if isinstance(config.probe, str) else config.probe)
        features = Features(
            groups=group_subjects(windows, config), bundles=[bundle], weights=["0" * 12], model="made", config=config
        )
        made = Plan(config, features)
        for cell in made.cells:
            if not cell.method.uses_teacher:
                made.steps(cell), made.key(cell)

    def shift(path: Path) -> None:
        config = load_config(path, OodConfig)
        domains = divide(windows, config.scenario)
        todo = plan(config, domains, Folder(path.parent / "runs", config, data=windows.digest, models={}))
        Task(domains, config)
        assert len(todo) >= 0

    def network(path: Path) -> None:
        config = load_config(folder / "recipe.yaml", PretrainConfig, [f"encoder={path}"])
        made = EncoderBundle(spec=spec, encoder=config.encoder)
        made.encode(motion, rate_hz=25.0)

    def read(path: Path) -> Any:
        return yaml.safe_load(path.read_text())

    recipe = read(CONFIGS / "pretrain" / "base.yaml")
    recipe["data"] |= {"root": str(index.root), "batch_size": 8}
    recipe["encoder"] |= {"width": 16, "layers": 1}
    recipe["projector"] |= {"dim": 16}
    recipe["run"] |= {"device": "cpu"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    fewshot = read(CONFIGS / "eval" / "base.yaml")
    fewshot["domains"] = [
        {"name": "people", "split": ["train", "test"], "placements": ["wrist"], "where": {"device": "a"}}
    ]
    fewshot["episodes"] |= {"episodes": 2, "shots": [1, 2], "support_subjects": 2, "windows_per_class": 3}
    fewshot["references"]["supervised"]["domains"] = ["people"]
    labels = read(CONFIGS / "eval" / "limited_labels" / "base.yaml")
    labels |= {"labels": [1, 2], "seeds": [0, 1], "classes": ["sit", "walk"], "choose": {"split": "val"}}
    labels["scratch"] = {"epochs": 2, "batch": 8, "learning_rate": 0.001, "warmup": 0.1, "weight_decay": 0.01}
    labels["methods"].append({"name": "spread", "spread": {"neighbours": 5, "inputs": "imu"}})
    ood = read(CONFIGS / "eval" / "ood" / "hapt_person.yaml")
    ood["scenario"] |= {
        "labels": ["sit", "walk"],
        "groups": 2,
        "targets": None,
        "per_class": 50,
        "where": {"device": "a"},
    }
    ood["scenario"] |= {"placements": ["wrist"]}
    ood["algorithms"] = ["erm", {"name": "mixup", "grid": {"alpha": [0.1, 0.2], "lr": [0.001]}}]
    ood["algorithms"].append({"name": "fishr", "fixed": {"start": 200}})
    ood["models"][0]["backbone"] = {"name": "harood_cnn", "kernel": 3, "norm": "batch"}
    own = read(CONFIGS / "data" / "folder.yaml")
    own["dataset"]["root"] = str(folder / "study")
    own["window"] |= {"seconds": 1.0, "stride_s": 1.0, "rate_hz": 25}
    own["splits"] = {"fractions": {"train": 0.5, "test": 0.5}, "seed": 0}
    declaration = read(folder / "study" / "dataset.yaml")
    synthetic = read(STUDIES / "demo" / "configs" / "data.yaml")
    synthetic["dataset"]["groups"] = synthetic["dataset"]["groups"][:1]
    synthetic["splits"] = {"fractions": {"train": 0.5, "test": 0.5}}
    entries = {
        f"encoder {path.stem}": Kind(read_yaml(path), network) for path in sorted((CONFIGS / "encoder").glob("*.yaml"))
    }
    return {
        "pretraining": Kind(recipe, pretrain),
        "build": Kind(own, builds),
        "build of made-up recordings": Kind(synthetic, plans),
        "dataset.yaml": Kind(declaration, declared, "dataset.yaml"),
        "few-shot": Kind(fewshot, episodes),
        "limited labels": Kind(labels, cells),
        "domain shift": Kind(ood, shift),
        "label maps": Kind(read(CONFIGS / "eval" / "label_maps" / "coarse.yaml"), load_label_maps),
        **entries,
    }


def _data(root: Path) -> Index:
    """A data folder: two activities, six training, two validation and four test subjects, two devices."""
    rng = np.random.default_rng(0)
    made = {}
    for split, people in (("train", 6), ("val", 2), ("test", 4)):
        made[split] = [
            Window(
                key=f"{split}-{s}-{i}",
                recording=f"{split}{s}",
                subject=f"{split}{s}",
                session="1",
                start=2.0 * i,
                imu={name: rng.normal(0, 5, (6, 50)).astype(np.float32) for name in ("wrist", "waist")},
                label=("walk", "sit")[i % 2],
                tags={"device": "a"},
            )
            for s in range(people)
            for i in range(8)
        ]
    index = write_folder(root, made, rate_hz=25.0)
    write_teacher(index, {split: rng.normal(size=(len(rows), 12)).astype(np.float32) for split, rows in made.items()})
    return index


def study(root: Path) -> Path:
    """Own recordings: two subjects, one device, CSV files and a declaration with labels."""
    root.mkdir(parents=True)
    declaration = {
        "dataset": "study",
        "licence": "CC0-1.0",
        "citation": "none",
        "url": "",
        "imu": {
            "time": {"column": "t", "unit": "ms"},
            "channels": {"acc_x": "ax", "acc_y": "ay", "acc_z": "az", "gyr_x": "gx", "gyr_y": "gy", "gyr_z": "gz"},
            "units": {"acc": "g", "gyr": "deg/s"},
        },
        "placements": {"wrist": {"scale": {"acc": 1.0}}},
        "files": {"imu": "{subject}/{recording}_{placement}.csv", "labels": "{subject}/{recording}.labels.csv"},
        "labels": ["walk", "sit"],
        "label_files": {"start": "from", "end": "to", "label": "what", "offset_s": 0.0},
        "check_units": True,
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))
    rng = np.random.default_rng(0)
    for subject in ("s01", "s02"):
        (root / subject).mkdir()
        table = pd.DataFrame(rng.normal(0, 0.01, (400, 6)), columns=["ax", "ay", "az", "gx", "gy", "gz"])
        table["az"] += 1
        table.insert(0, "t", np.arange(400) * 20)
        table.to_csv(root / subject / "walk_wrist.csv", index=False)
        (root / subject / "walk.labels.csv").write_text("from,to,what\n0,4000,walk\n4000,8000,sit\n")
    return root
