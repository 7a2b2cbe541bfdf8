"""The video study: nested scales, the order of its grid, and tables that equal the lines of `imu-eval fewshot`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.config import EvalConfig
from eval.protocols.fewshot.measure import measure
from eval.results import Counts, Result, append_results, read_results, save_counts
from imu_video.config import load_config
from imu_video.errors import DataError
from imu_video.metrics.classify import macro_f1
from pretrain.config import PretrainConfig

Runner = Callable[[str], ModuleType]
ROWS = Path(__file__).resolve().parents[2] / "studies" / "video" / "configs" / "rows"
MODELS = {
    "pretrained": (0, 1, 2),
    "permuted": (0, 1),
    "redrawn": (0, 1),
    "imu": (0, 1),
    "untrained": (),
    "handcrafted": (),
}
SUBJECTS = ("a", "b", "c", "d", "e", "f")


def made_up(
    rng: np.random.Generator,
    domain: str,
    shots: int,
    subjects: tuple[str, ...] = SUBJECTS,
    models: Mapping[str, tuple[int, ...]] = MODELS,
) -> list[Counts]:
    """Counts of every model in one domain: two classes, eight episodes, half of the subjects provide support."""
    support = np.argsort(rng.random((8, len(subjects))), axis=1) < len(subjects) // 2
    out = []
    for place, (model, seeds) in enumerate(models.items()):
        levels = len(seeds) or (3 if model == "untrained" else 1)
        right = rng.binomial(20, 0.9 - 0.05 * min(place, 8), (levels, 8, len(subjects), 2))
        counts = np.stack([right, 20 - right], axis=-1)
        counts[..., 1, :] = counts[..., 1, ::-1]
        counts[:, support] = 0
        out.append(
            Counts(
                model=model,
                probe="ridge",
                domain=domain,
                setting="within",
                shots=shots,
                classes=("x", "y"),
                subjects=subjects,
                counts=counts,
                pretraining=seeds,
                support=support,
                seeds=(0, 1, 2) if model == "untrained" else (),
            )
        )
    return out


def written(folder: Path, name: str, counts: list[Counts]) -> list[Result]:
    """Result lines and counts as `imu-eval fewshot` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_counts(folder / f"{name}.npz", counts)
    lines = measure(counts, EvalConfig(metrics=["macro_f1"]), {"cells": f"{name}.npz"})
    append_results(folder / f"{name}.jsonl", lines)
    return read_results([folder / f"{name}.jsonl"])[0]


def test_takes_of_a_scale_are_a_sample_that_larger_scales_contain(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import design

    for number in range(200):
        (tmp_path / f"{'early' if number < 100 else 'late'}_{number:03d}.bvh").touch()
    files = design.takes([tmp_path])
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert 10 < sum(path.name.startswith("early") for path in files[:50]) < 40
    shares = [scale.takes for scale in design.SCALES.values()]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    blocks = [[entry.block for entry in design.up_to(scale)] for scale in design.SCALES]
    assert all(set(small) < set(large) for small, large in itertools.pairwise(blocks))


def test_the_grid_is_complete_and_every_layer_ends_with_its_evaluation(
    call: Callable[[str], Callable[..., list[str]]],
) -> None:
    lines = call("video")("grid")
    trained = [line for line in lines if line.startswith("imu-pretrain launch")]
    assert len(trained) == len(set(trained)) == 80
    assert sum("data.control=permuted_pairs" in line for line in trained) == 20
    evaluated = [number for number, line in enumerate(lines) if line.startswith("imu-eval fewshot")]
    assert len(evaluated) == 3 * 8
    before = [line for line in lines[: evaluated[0]] if line.startswith("imu-pretrain launch")]
    assert len(before) == 12
    assert all("mixture-1k5" in line for line in before)


def test_recipes_are_trained_and_evaluated_on_one_scale(
    call: Callable[[str], Callable[..., list[str]]],
) -> None:
    lines = call("video")("recipes", "--scale", "5k", "--seeds", "0,1")
    assert sum(line.startswith("imu-pretrain launch") for line in lines) == 6 * 2
    evaluated = [line for line in lines if line.startswith("imu-eval fewshot")]
    assert len(evaluated) == 6 * 3
    assert all("mixture-5k/masked" in line for line in evaluated[-3:])


def test_one_command_runs_every_step(runner: Runner, tmp_path: Path) -> None:
    app = runner("video").app
    from studies.video import design

    (tmp_path / "take.bvh").touch()
    roots = [word for name in ("mocap", *design.CONFIG_OF, "utd") for word in (f"--{name}", str(tmp_path))]
    words = ["all", *roots, "--study", str(tmp_path / "study"), "--dry-run"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("  $ ")]
    assert not (tmp_path / "study").exists()
    assert sum("imu-video build" in line for line in lines) == 6 + 4 + 4 + 3 + 1
    for name in ("mixture-80k/redrawn-4", "mixture-20k/masked-4", "clips-1k5/video-4", "utd-trials/imu-4"):
        assert any(f"runs/{name}" in line for line in lines)


@pytest.mark.parametrize("path", sorted(p for p in ROWS.glob("*.yaml") if p.stem != "base"), ids=lambda p: p.stem)
def test_rows_share_updates_and_student(path: Path) -> None:
    base, row = (load_config(p, PretrainConfig) for p in (ROWS / "base.yaml", path))
    own = {"masked": {"encoder", "augment"}, "multi_device": {"data"}}.get(path.stem, set())
    for key in ("encoder", "augment", "optim", "run"):
        assert (getattr(row, key) == getattr(base, key)) == (key not in own), key
    assert (row.data.batch_size == base.data.batch_size) == ("data" not in own)


def test_one_domain_gives_the_differences_of_the_command(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import tables

    counts = made_up(np.random.default_rng(0), "hapt", 5)
    lines = written(tmp_path, "mixture-1k5-2-hapt", counts)
    (row,) = tables.rows(tables.result_files(tmp_path, "mixture"), ["1k5"])
    for name in tables._contrasts([row]):
        (line,) = [one for one in lines if one.reference == name]
        own = row.difference(name)
        assert own.value == pytest.approx(line.value, abs=1e-12)
        assert own.interval(0.95) == pytest.approx((line.low, line.high), abs=1e-9)
    for name in MODELS:
        (line,) = [one for one in lines if one.model == name and not one.is_difference]
        assert row.value(name).interval(0.95) == pytest.approx((line.low, line.high), abs=1e-9)


def test_domains_are_averaged_within_subjects_and_episodes(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import tables

    rng = np.random.default_rng(1)
    two = [made_up(rng, "wrist", 1), made_up(rng, "waist", 1, SUBJECTS[:4])]
    lines = written(tmp_path, "mixture-1k5-2-umafall", [one for counts in two for one in counts])
    found = tables.pooled(lines, "permuted", 1)
    wrist, waist = (next(c for c in counts if c.model == "permuted") for counts in two)
    assert found.values.shape == (2, 8, 6)
    for r, e, s in itertools.product(range(2), range(8), range(6)):
        cells = [macro_f1(c.counts[r, e, s]) for c in (wrist, waist) if s < len(c.subjects)]
        own = [cell for cell in cells if np.isfinite(cell)]
        expected = np.mean(own) if own else np.nan
        np.testing.assert_allclose(found.values[r, e, s], expected)
        assert found.support[e, s] == any(c.support[e, s] for c in (wrist, waist) if s < len(c.subjects))


def test_recorded_subjects_are_joined_with_equal_weight(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import tables

    rng = np.random.default_rng(3)
    for target, subjects in (("hapt", SUBJECTS), ("umafall", ("x", "y", "z", "w"))):
        written(tmp_path, f"mixture-1k5-2-{target}", made_up(rng, target, 5, subjects))
    found = tables.rows(tables.result_files(tmp_path, "mixture"), ["1k5"])
    assert [row.target for row in found] == ["real", "hapt", "umafall"]
    joint, hapt, umafall = (row.difference("permuted") for row in found)
    assert joint.subjects == 10
    assert joint.value == pytest.approx((6 * hapt.value + 4 * umafall.value) / 10, abs=1e-12)
    factors = {part.factor for part in joint.parts}
    assert factors == {"subject", "episode", "pretraining seed", "pretraining seed of the reference"}
    assert tables.primary(found) == found[:1]


def test_tables_and_figure_of_a_study(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import tables

    rng = np.random.default_rng(2)
    for scale, seeds, target in itertools.product(("1k5", "20k"), (2, 3), ("hapt", "world")):
        counts = [one for shots in (1, 5) for one in made_up(rng, "only", shots)]
        written(tmp_path, f"mixture-{scale}-{seeds}-{target}", counts)
    files = tables.result_files(tmp_path, "mixture")
    assert {seeds for seeds, _ in files.values()} == {3}
    found = tables.rows(files, ["1k5", "20k"])
    assert [(row.target, row.shots, row.scale) for row in found][:3] == [
        ("hapt", 1, "1k5"),
        ("hapt", 1, "20k"),
        ("hapt", 5, "1k5"),
    ]
    for text in (tables.values_table(found), tables.contrasts_table(found), tables.excluded_table(found, "permuted")):
        widths = {line.count("|") for line in text.splitlines()}
        assert len(widths) == 1
        assert len(text.splitlines()) == 2 + 8
    svg = tables.figure(found, {"1k5": 1500, "20k": 20000}, shots=5)
    assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_recipes_of_a_scale_are_one_family_with_its_arms(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import design, tables

    own = {"comodo": ("pretrained",), "masked": ("pretrained", "untrained"), "sigmoid": ("pretrained",)}
    for target in design.TARGETS:
        written(tmp_path, f"mixture-20k-2-{target}", made_up(np.random.default_rng(4), target, 5))
        for name, models in own.items():
            part = {model: (0, 1) if model == "pretrained" else () for model in models}
            if name != "sigmoid" or target == "hapt":  # not yet evaluated on all targets
                written(tmp_path, f"{name}-20k-2-{target}", made_up(np.random.default_rng(4), target, 5, models=part))
    text = tables.recipes_page(tmp_path, list(design.SCALES))
    assert text.count("## ") == 1
    assert "sigmoid" not in text
    row = next(row for row in tables.recipes_rows(tmp_path, "20k") if row.target == "hapt")
    comodo = row.difference("comodo")
    low, high = comodo.interval(0.95)
    assert f"| COMODO | {comodo.value:+.3f} [{low:+.3f}, {high:+.3f}]" in text
    assert text.count("untrained, student of masked patches") == 1
    names = ["comodo", "masked", "imu"]
    assert len(tables.recipes_contrasts([row], names).splitlines()) == 2 + len(names)


def test_recipes_with_other_episodes_are_refused(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import design, tables

    for target in design.TARGETS:
        written(tmp_path, f"mixture-20k-2-{target}", made_up(np.random.default_rng(4), target, 5))
        part = {"pretrained": (0, 1)}
        written(tmp_path, f"comodo-20k-2-{target}", made_up(np.random.default_rng(5), target, 5, models=part))
    with pytest.raises(DataError, match="comodo, hapt: other episodes"):
        tables.recipes_page(tmp_path, list(design.SCALES))


def test_retrieval_is_that_of_the_last_validation(runner: Runner, tmp_path: Path) -> None:
    runner("video")
    from studies.video import tables

    for seed, value in ((0, 0.2), (1, 0.4)):
        log = tmp_path / "mixture-1k5" / f"video-{seed}" / "log.jsonl"
        log.parent.mkdir(parents=True)
        lines = ('{"kind": "validate", "mrr": 0.1}', f'{{"kind": "validate", "mrr": {value}}}', '{"kind": "train"}')
        log.write_text("\n".join(lines))
    assert "| 1k5 | 0.300 |  |  | 2 |" in tables.retrieval_table(tmp_path, "mixture", ["1k5", "5k"])
