"""The studies of older adults and of the scale of real IMU: grids, held-out subjects, and tables from stored counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.results import append_results, read_results
from imu_video.config import load_config
from imu_video.errors import ConfigError
from pretrain.config import PretrainConfig
from tests.studies.test_video import SUBJECTS, made_up, written

Runner = Callable[[str], ModuleType]
Call = Callable[[str], Callable[..., list[str]]]
STUDIES = Path(__file__).resolve().parents[2] / "studies"


def test_the_grid_has_the_young_where_the_arm_says_so(call: Call) -> None:
    lines = call("older_adults")("grid", "--seeds", "0,1")
    trained = [line for line in lines if line.startswith("imu-pretrain launch")]
    assert len(trained) == len(set(trained)) == 10
    young = [line for line in trained if "data/young, weight: 1, paired: false}]" in line]
    assert len(young) == 8
    assert all("data/paired, weight: 2}" in line for line in trained)
    assert not any("runs/cross-" in line for line in young)
    assert sum("data.control=permuted_pairs" in line for line in trained) == 2


@pytest.mark.parametrize("row", ["cross", "imu", "text"])
def test_rows_share_student_and_schedule_with_the_video_study(row: str) -> None:
    own = load_config(STUDIES / "older_adults" / "configs" / "rows" / f"{row}.yaml", PretrainConfig)
    base = load_config(STUDIES / "video" / "configs" / "rows" / "base.yaml", PretrainConfig)
    for key in ("encoder", "augment", "optim", "projector"):
        assert getattr(own, key) == getattr(base, key), key


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*/configs/eval/*.yaml")), ids=lambda p: f"{p.parts[-4]}/{p.stem}")
def test_evaluation_configs_are_valid(path: Path) -> None:
    config = load_config(path, EvalConfig)
    assert len({domain.name for domain in config.domains}) == len(config.domains)


def test_subjects_of_umafall_are_divided_by_age() -> None:
    config = load_config(STUDIES / "older_adults" / "configs" / "eval" / "umafall_older.yaml", EvalConfig)
    for domain in config.domains:
        assert domain.source is not None
        old, young = ([int(age) for age in side.where["age"]] for side in (domain, domain.source))
        assert max(young) < 30 < 50 < min(old)


def test_held_out_subjects_are_in_no_size(runner: Runner) -> None:
    divided = runner("real_imu").divided
    names = [f"s{number}" for number in range(20)]
    held, others = divided(names)
    assert (len(held), len(others)) == (8, 12)
    assert sorted([*held, *others]) == sorted(names)
    assert divided(names[::-1]) == (held, others)
    with pytest.raises(ConfigError, match="8 subjects, of which 8 are held out"):
        divided(names[:8])


def test_sizes_are_nested_and_the_smallest_is_the_arm_of_the_other_study(
    call: Call, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = call("real_imu")
    module = __import__("sys").modules["studies_real_imu_run"]
    names = [f"s{number}" for number in range(20)]
    monkeypatch.setattr(module, "_subjects", lambda study: module.divided(names))
    lines = run("grid", "--seeds", "0,1")
    assert sum(line.startswith("imu-pretrain launch") for line in lines) == 6
    assert sum(line.startswith("imu-video split") for line in lines) == 4
    assert all("data.val_split=null" in line for line in lines if line.startswith("imu-pretrain launch"))
    texts = {file.stem: set(re.findall(r"s\d+", file.read_text())) for file in Path("real-run/data").glob("*.yaml")}
    assert len(texts["held-out"]) == 8
    assert texts["pdiot-4"] < texts["pdiot-8"] < texts["pdiot-12"]
    assert not texts["pdiot-12"] & texts["held-out"]
    (line,) = run("evaluate", "pdiot", "--sizes", "12,0")
    assert "imu-eval fewshot real-run/encoders/pdiot12 real-run/data/held-out" in line
    assert "--against older-run/encoders/cross --against imu-video/small" in line
    with pytest.raises(ConfigError, match="12 subjects are not held out"):
        run("grid", "--sizes", "13")


def test_tables_show_means_over_domains_and_every_domain(tmp_path: Path, runner: Runner) -> None:
    runner("older_adults")
    from studies import estimates

    rng = np.random.default_rng(0)
    counts = [one for name in ("wrist", "pocket") for shots in (1, 5) for one in made_up(rng, name, shots)]
    lines = written(tmp_path, "older", counts)
    found = estimates.places(tmp_path / "older.jsonl")
    assert [(place.name, place.shots) for place in found] == [
        ("mean, within", 1), ("mean, within", 5), ("wrist", 1), ("wrist", 5), ("pocket", 1), ("pocket", 5)
    ]  # fmt: skip
    for place in found[2:]:
        for model in ("imu", "handcrafted", "untrained"):
            (line,) = [
                one for one in lines if (one.domain, one.shots, one.reference) == (place.name, place.shots, model)
            ]
            own = estimates.difference(place.cells, "pretrained", model)
            assert own.value == pytest.approx(line.value, abs=1e-12)
            assert own.interval(0.95) == pytest.approx((line.low, line.high), abs=1e-9)
    page = estimates.page(tmp_path / "older.jsonl", "Older", "mine")
    assert "| domain | shots | test subjects | mine | permuted | redrawn | imu | untrained | statistics |" in page
    assert "mine minus statistics" in page
    assert page.count("\n| mean, within |") == 4


def test_a_reference_on_fewer_episodes_is_compared_on_those(runner: Runner) -> None:
    runner("older_adults")
    from studies import estimates

    rng = np.random.default_rng(1)
    support = np.zeros((8, len(SUBJECTS)), dtype=bool)
    support[:, :3] = True
    values = np.where(support, np.nan, rng.random((3, 8, len(SUBJECTS))))
    few = np.where(support[:4], np.nan, rng.random((1, 4, len(SUBJECTS))))
    cells = {
        "pretrained": estimates.Cells(values=values, support=support),
        "supervised": estimates.Cells(values=few, support=support[:4]),
    }
    own = estimates.difference(cells, "pretrained", "supervised")
    assert own.value == pytest.approx(np.nanmean(values[:, :4].mean(0) - few[0]))


def test_zero_shot_lines_become_one_table(tmp_path: Path, runner: Runner) -> None:
    module = runner("older_adults")
    lines = written(tmp_path, "lines", made_up(np.random.default_rng(2), "wrist", 5))
    figures = [line.model_copy(update={"kind": "zeroshot", "shots": None}) for line in lines]
    for name in ("zeroshot-source-imu", "zeroshot-source-cross"):
        append_results(tmp_path / f"{name}.jsonl", figures)
    found = {path: read_results([path])[0] for path in sorted(tmp_path.glob("zeroshot-*.jsonl"))}
    text = module.zero_table(found)
    assert "| source | imu | wrist |" in text
    assert "| source | cross | wrist |" in text
    assert text.count("| handcrafted |") == 1
