"""A protocol of a user's own: a command, a name in `imu-eval list`, lines of its kind, a section of the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from eval.cli import app
from eval.protocol import Context, protocols
from eval.testing import check_protocol
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build

HERE = Path(__file__).parent
TOY = HERE / "toy_protocol.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `data` with three test subjects, and `encoder`."""
    root = tmp_path_factory.mktemp("toy")
    load_plugin(HERE / "eval_people.py")
    config = {
        "dataset": {"name": "eval_people"},
        "window": {"seconds": 2, "rate_hz": 32, "stride_s": 2},
        "splits": {"subjects": {"test": ["s0", "s2", "s3"]}},
    }
    build(validate(config, BuildConfig, source="test"), root / "data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
        encoder = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}
        EncoderBundle(spec=spec, encoder=encoder).save(root / "encoder", lineage={})
    return root


def imu_eval(*words: object) -> subprocess.CompletedProcess[str]:
    """`imu-eval` in a process of its own, so that no other test has loaded the plugin."""
    command = [sys.executable, "-P", "-m", "eval.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow  # six processes that import torch
def test_a_protocol_of_a_plugin_is_a_command_listed_and_reported(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    words = ["toy", folder / "encoder", folder / "data", "--feature", 2, "--out", out]
    unknown = imu_eval(*words)
    assert unknown.returncode != 0
    assert "toy" in unknown.stderr

    done = imu_eval(*words, "--plugin", TOY)
    assert done.returncode == 0, done.stderr
    assert "3 subjects" in done.stdout
    assert "accuracy [95 %]" in done.stdout
    assert "note: feature 2 only" in done.stdout
    [line] = [json.loads(text) for text in out.read_text().splitlines()]
    assert (line["kind"], line["subjects"], line["details"]["feature"]) == ("toy", 3, 2)

    assert imu_eval(*words[:3], "--feature", 3, "--out", out, f"--plugin={TOY}").returncode == 0
    refused = imu_eval("report", out, tmp_path / "report")
    assert refused.returncode == 3
    assert "line 1: kind 'toy' belongs to no registered protocol" in refused.stderr
    assert "--plugin FILE.py" in refused.stderr

    report = imu_eval("report", out, tmp_path / "report", "--plugin", TOY)
    assert report.returncode == 0, report.stderr
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## toy\n" in text
    assert f"- Feature 2 reaches {line['value']:.3f} in test." in text
    assert "- Feature 3 reaches" in text, "`variants` keeps both lines"
    assert "Toy: every subject is tested on class means" in text
    assert "| test | pretrained | nearest mean |" in text


def test_the_plugin_fulfils_the_contract_and_violations_are_named(folder: Path) -> None:
    load_plugin(TOY)
    toy = protocols.get("toy")
    results = toy(encoder=folder / "encoder", data=folder / "data").run(Context())
    check_protocol(toy, results)
    with pytest.raises(AssertionError, match="name what differs in `variants`"):
        check_protocol(toy, [*results, *results])
    with pytest.raises(AssertionError, match="expected 'toy'"):
        check_protocol(toy, [results[0].model_copy(update={"kind": "fewshot"})])


def test_list_shows_protocols_probes_algorithms_and_selection_rules() -> None:
    everything = imu_eval("list", "--plugin", TOY)
    assert everything.returncode == 0, everything.stderr
    rows = {tuple(row.split("\t")[:2]) for row in everything.stdout.splitlines()}
    assert rows >= {
        ("protocols", "fewshot"),
        ("protocols", "toy"),
        ("probes", "ridge"),
        ("algorithms", "erm"),
        ("selection_rules", "lodo"),
    }
    one = imu_eval("list", "protocols", "toy", "--plugin", TOY)
    assert "Classify windows by the nearest class mean" in one.stdout
    assert {"encoder\trequired", "feature\t0", "split\t'test'"} <= set(one.stdout.splitlines())


def test_list_as_json_and_of_an_unknown_kind() -> None:
    shown = CliRunner().invoke(app, ["list", "probe", "ridge", "--json"])
    assert json.loads(shown.stdout)[0]["name"] == "ridge"
    wrong = CliRunner().invoke(app, ["list", "protokols"])
    assert "did you mean 'protocols'" in str(wrong.exception)


@pytest.mark.slow  # one more process that imports everything
def test_help_names_the_options_of_the_constructor() -> None:
    shown = imu_eval("toy", "--help", "--plugin", TOY).stdout
    for option in ("--feature", "--split", "--out", "--plugin"):
        assert option in shown


def test_version() -> None:
    from imu_video import __version__

    assert imu_eval("--version").stdout == f"imu-eval {__version__}\n"
