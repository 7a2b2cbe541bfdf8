"""The command `imu-video` from the outside: what it prints, what it leaves on disk, and its exit codes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from imu_video.cli import app as cli
from imu_video.cli import doctor
from imu_video.errors import TeacherCacheError
from imu_video.registry import ALL
from imu_video.runtime.logging import log_progress

PLUGIN = str(Path(__file__).parents[1] / "shards" / "tiny_dataset.py")
Run = Callable[..., tuple[int, str, str]]

CONFIG = {
    "dataset": {"name": "tiny_people"},
    "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10},
    "splits": {"subjects": {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}},
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; returns exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["imu-video", *(str(w) for w in words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "people.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder built by the real command in its own process."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "people.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    command = [sys.executable, "-P", "-m", "imu_video.cli.app", "build", "people.yaml", "data", "--plugin", PLUGIN]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "built data: 28 samples (train 14, val 7, test 7)" in done.stdout
    assert "4/4 subjects: test: p2, 7 windows" in done.stdout
    return folder / "data"


def test_help_and_version_need_no_heavy_package() -> None:
    code = (
        "import sys; sys.argv = ['imu-video', '--version']; from imu_video.cli import app as cli\n"
        "try: cli.main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'scipy', 'decord', 'av', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    version, heavy = done.stdout.strip().splitlines()
    assert version.startswith("imu-video ")
    assert heavy == "[]"


def test_every_command_has_help(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("build", "merge", "split", "fetch", "embed", "inspect", "verify", "list", "doctor"):
        assert command in out
        assert run(command, "--help")[0] == 0


def test_usage_errors_exit_2(run: Run) -> None:
    assert run("build")[0] == 2
    assert run("bild", "a", "b")[0] == 2
    assert run("build", "a", "b", "--workers", "0")[0] == 2


def test_a_second_build_does_nothing_and_another_is_refused(run: Run, built: Path, config: Path) -> None:
    before = (built / "index.json").read_bytes()
    code, out, _ = run("build", config, built, "--plugin", PLUGIN)
    assert (code, out) == (0, f"{built} is already built from this config: 28 samples (train 14, val 7, test 7)\n")
    code, _, err = run("build", config, built, "window.rate_hz=25", "--plugin", PLUGIN)
    assert code == 2
    assert "was built from another config" in err
    assert "--force" in err
    assert (built / "index.json").read_bytes() == before


def test_overrides_reach_the_build(run: Run, config: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "build",
        config,
        tmp_path / "out",
        "window.seconds=4",
        "window.clip_fps=null",
        "dataset.fault=lost",
        "--plugin",
        PLUGIN,
    )
    assert code == 0
    assert "dropped 1 of 4 windows: no device measured enough" in out
    assert "4 of 8 recordings are shorter than a window" in out
    raw = json.loads((tmp_path / "out" / "index.json").read_text())
    assert raw["clip"] is None
    assert raw["samples_per_window"] == 80


def test_parts_are_built_and_merged(run: Run, built: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    code, text, _ = run("build", config, out, "--part", "2/2", "--plugin", PLUGIN)
    assert (code, text.splitlines()[-1]) == (
        0,
        f"built {out}.parts/2-of-2; when all parts exist: imu-video merge {out}",
    )
    code, _, err = run("merge", out)
    assert (code, f"imu-video build CONFIG {out} --part 1/2" in err) == (2, True)
    assert run("build", config, out, "--part", "1/2", "--plugin", PLUGIN)[0] == 0
    assert run("build", config, out, "--part", "1:2", "--plugin", PLUGIN)[0] == 2
    code, text, _ = run("merge", out)
    assert (code, text.splitlines()[-1]) == (0, f"merged {out}: 28 samples (train 14, val 7, test 7)")
    assert (out / "index.json").read_bytes() == (built / "index.json").read_bytes()


def test_folders_are_divided_and_merged(run: Run, built: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.yaml").write_text("subjects: {fit: [p0, p2], check: [p1]}\n")
    code, out, _ = run("split", built, tmp_path / "ab", tmp_path / "splits.yaml")
    assert (code, out.splitlines()[-1]) == (
        0,
        f"split {built} into {tmp_path / 'ab'}: 21 samples (fit 14, check 7)",
    )
    code, _, err = run("split", built, tmp_path / "c", tmp_path / "splits.yaml", "subjects.check=[p0]")
    assert (code, "subject 'p0' is in split" in err) == (3, True)
    assert run("split", built, tmp_path / "c", tmp_path / "splits.yaml", "subjects={fit: [p3]}")[0] == 0
    code, out, _ = run("merge", tmp_path / "ab", tmp_path / "c", "--out", tmp_path / "all")
    assert (code, out.splitlines()[-1]) == (0, f"merged {tmp_path / 'all'}: 28 samples (fit 21, check 7)")
    assert run("verify", tmp_path / "all")[0] == 0
    code, _, err = run("merge", built, tmp_path / "c", "--out", tmp_path / "twice")
    assert (code, "is in" in err) == (3, True)
    assert run("merge", built, tmp_path / "c")[0] == 2
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["window.secnods=3"], 2, "unknown key 'window.secnods'; did you mean 'seconds'?"),
        (["window.seconds=-1"], 2, "key 'window.seconds'"),
        (["dataset.name=tiny_poeple"], 2, "did you mean 'tiny_people'?"),
        (["dataset.fault=other_subject"], 3, "for subject 'p1'"),
        (["window.seconds=9"], 3, "has no window"),
        (["splits.subjects.val=[p0]"], 3, "subject 'p0' is in split"),
    ],
)
def test_bad_builds_end_in_one_message_and_leave_nothing(
    run: Run, config: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    got, out, err = run("build", config, tmp_path / "out", *words, "--plugin", PLUGIN)
    assert got == code
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in out + err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["people.yaml"]


def test_a_declaration_of_recordings_is_no_build_config(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("dataset: mine\nlicence: CC0-1.0\nplacements: {waist: }\nfiles: {imu: x}\n")
    code, _, err = run("build", tmp_path / "dataset.yaml", tmp_path / "out")
    assert (code, "declares recordings" in err) == (2, True)
    words = err.split("  try: imu-video ")[1].split()
    assert words == ["build", "configs/data/folder.yaml", str(tmp_path / "out"), f"dataset.root={tmp_path}"]
    assert "variable {subject}" in run(*words)[2]  # the declaration itself is read


def test_a_config_key_written_as_an_option_is_corrected(run: Run, config: Path, tmp_path: Path) -> None:
    for words in (["--window.secnods", "3"], ["--window.secnods=3"]):
        code, _, err = run("build", config, tmp_path / "out", *words)
        assert (code, "no option --window.secnods" in err) == (2, True)
        hint = err.split("  try: ")[1].strip()
        assert hint == "window.secnods=3"
    assert "unknown key 'window.secnods'" in run("build", config, tmp_path / "out", hint, "--plugin", PLUGIN)[2]


def test_embed_points_from_the_name_of_a_config_to_its_file(run: Run, built: Path) -> None:
    code, _, err = run("embed", built, "efficientnet_lite0")
    assert (code, "did you mean `configs/teacher/efficientnet_lite0.yaml`?" in err) == (2, True)
    assert "did you mean 'skeleton'?" in run("embed", built, "Skeletons")[2]


def test_missing_config_and_plugin(run: Run, tmp_path: Path) -> None:
    code, _, err = run("build", tmp_path / "no.yaml", tmp_path / "out")
    assert (code, "no.yaml" in err) == (2, True)
    code, _, err = run("list", "--plugin", tmp_path / "no.py")
    assert (code, "no such file" in err) == (2, True)


def test_inspect_prints_every_table(run: Run, built: Path) -> None:
    code, out, _ = run("inspect", built)
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert ["licence", "CC0-1.0"] in rows
    assert ["window", "1 s, 20 samples at 20 Hz"] in rows
    assert ["units", "acc_x, acc_y, acc_z in m/s^2; gyr_x, gyr_y, gyr_z in rad/s"] in rows
    assert ["clip", "5 frames at 5 Hz, 16 x 16"] in rows
    assert ["kept without", "clip: 7"] in rows
    (quality,) = [row[1] for row in rows if row[0] == "quality"]
    assert quality.startswith("9 checks of ")
    assert next(row for row in rows if row[0] == "train")[:4] == ["train", "14", "2", "1"]
    assert ["split", "label", "samples", "right_wrist", "waist"] in rows
    assert ["train", "sit", "6", "2", "6"] in rows
    assert ["train", "walk", "8", "8", "8"] in rows


def test_inspect_writes_a_page(run: Run, built: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "people.html"
    code, out, _ = run("inspect", built, "--html", page, "--samples", "6", "--split", "train")
    assert code == 0
    assert out.startswith(f"wrote {page}: 6 samples")
    assert page.read_text().count('"mp4": "') == 6
    assert run("inspect", built, "--html", tmp_path / "b.html", "--split", "tset")[0] == 3
    assert sorted(tmp_path.iterdir()) == [page.parent]


def test_inspect_lists_teacher_caches(run: Run, built: Path) -> None:
    cache = built / "teachers" / "abc123"
    cache.mkdir(parents=True)
    (cache / "teacher.json").write_text(json.dumps({"spec": {"name": "tiny"}, "index": "other"}))
    (cache / "train.npy").write_bytes(b"")
    code, out, _ = run("inspect", built)
    assert code == 0
    assert "abc123\ttiny\ttrain\tother shards: embed again" in out
    (cache / "teacher.json").write_text("{")
    code, _, err = run("inspect", built)
    assert (code, "not readable as JSON" in err) == (TeacherCacheError.exit_code, True)
    (cache / "teacher.json").unlink()


def test_verify_reports_and_repairs(run: Run, config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run("build", config, data, "--plugin", PLUGIN)[0] == 0
    assert run("verify", data)[0] == 0
    (data / "index.json").unlink()
    code, _, err = run("verify", data)
    assert code == 3
    assert f"imu-video verify {data} --repair" in err
    code, out, _ = run("verify", data, "--repair")
    assert code == 0
    assert "28 samples (train 14, val 7, test 7)" in out
    shard = data / "shards" / "val-000000.tar"
    damaged = bytearray(shard.read_bytes())
    damaged[600] ^= 1
    shard.write_bytes(damaged)
    assert run("verify", data, "--quick")[0] == 0
    code, out, err = run("verify", data)
    assert code == 3
    assert "problem: shards/val-000000.tar: sha256" in out
    assert "1 problem, the first" in err


def test_data_folders_that_are_none(run: Run, tmp_path: Path) -> None:
    for command in ("inspect", "verify"):
        code, _, err = run(command, tmp_path / "nothing")
        assert (code, "no such folder" in err) == (3, True)


def test_list_shows_components_and_their_arguments(run: Run) -> None:
    code, out, _ = run("list", "losses")
    assert code == 0
    assert "info_nce\tSymmetric InfoNCE" in out
    assert "temperature=0.07, learned=True" in out
    assert run("list", "loss")[0] == 2
    assert run("list", "encoder")[1] == run("list", "encoders")[1]
    assert "Args:" in run("list", "encoders", "patch_tst")[1]
    row = next(line for line in run("list", "encoders")[1].splitlines() if line.strip().startswith("tpn"))
    assert "86,726" in row
    assert "tau_plus\t0.0\tin [0, 1)\n" in run("list", "losses", "hard_negative")[1]
    ranges = json.loads(run("list", "losses", "hard_negative", "--json")[1])[0]["ranges"]
    assert (ranges["guard"], "learned" in ranges) == ("null or in (-1, 1)", False)
    code, _, err = run("list", "datasetz")
    assert (code, "did you mean 'datasets'" in err) == (2, True)
    assert "tiny_people" in run("list", "--plugin", PLUGIN)[1]


def test_list_datasets_fits_the_screen_and_tells_everything_of_one(run: Run) -> None:
    code, out, _ = run("list", "datasets", "--plugin", PLUGIN)
    assert code == 0
    rows = out.splitlines()
    assert rows[0].split("\t") == ["name", "Hz", "besides IMU", "placements", "labels", "licence"]
    assert "tiny_people\t50\t-\tright_wrist, waist\t2\tCC0-1.0" in rows
    assert max(map(len, rows)) <= 100
    facts = dict(line.split("\t") for line in run("list", "datasets", "tiny_people")[1].splitlines())
    assert facts["what it is"].startswith("Everybody has a walk of 4 s")
    assert (facts["labels (2)"], facts["rate"], facts["citation"]) == ("sit, walk", "50 Hz", "Nobody, 2024")
    assert (facts["obtain"], facts["arguments"]) == (
        "https://example.org",
        "people=4, fault='none', cameras=False, seed=0",
    )
    code, _, err = run("list", "datasets", "tiny_peopel")
    assert (code, "did you mean 'tiny_people'" in err) == (2, True)


def test_list_as_json(run: Run) -> None:
    entries = {e["name"]: e for e in json.loads(run("list", "datasets", "--json", "--plugin", PLUGIN)[1])}
    assert entries["tiny_people"]["placements"] == ["right_wrist", "waist"]
    assert entries["utd_mhad"]["streams"] == ["imu", "video", "skeleton"]
    assert len(entries["hapt"]["labels"]) == 12
    everything = json.loads(run("list", "--json")[1])
    assert {e["kind"] for e in everything} == set(ALL)
    assert json.loads(run("list", "losses", "info_nce", "--json")[1])[0]["arguments"]["temperature"] == "=0.07"


def test_embed_hands_over_the_resolved_teacher(
    run: Run, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def fake(index: Any, teacher: dict[str, Any], **options: Any) -> Any:
        log_progress(logging.getLogger("imu_video.shards.features.embed"), 7, 14, "samples", "train")
        seen.update(index=index, teacher=teacher, **options)
        return types.SimpleNamespace(whole=lambda: types.SimpleNamespace(fingerprint="f00"))

    module = types.ModuleType("imu_video.shards.features.embed")
    module.Embedding = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imu_video.shards.features.embed", module)
    (tmp_path / "teacher.yaml").write_text("name: frames\nimage_size: 224\n")
    code, out, _ = run(
        "embed", built, tmp_path / "teacher.yaml", "image_size=64", "--split", "train", "--batch-size", 4
    )
    assert code == 0
    assert out.splitlines() == ["7/14 samples: train", f"embedded {built} with frames: teachers/f00"]
    assert seen["index"].root == built
    assert seen["teacher"] == {"name": "frames", "image_size": 64}
    assert (seen["splits"], seen["batch_size"]) == (["train"], 4)
    assert run("embed", built, "tiny", "dim=8")[0] == 0
    assert seen["teacher"] == {"name": "tiny", "dim": 8}
    assert seen["splits"] is None


def test_doctor_passes_here_and_names_what_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("doctor")
    rows = {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()}
    assert code == 0
    assert rows["clips"] == rows["torch"] == rows["disk"] == "ok"

    def fail() -> str:
        raise ImportError("libx264 is gone")

    monkeypatch.setattr(doctor, "_clips", fail)
    monkeypatch.setitem(doctor.EXTRAS, "surely_not_installed", "moon")
    code, out, err = run("doctor")
    assert code == 2
    assert "clips\tBROKEN\tImportError: libx264 is gone" in out
    assert "surely_not_installed\tmissing\tpip install 'imu-video[moon]'" in out
    assert "1 checks of the installation failed: clips" in err


def test_check_lists_faults_and_exits_with_1(run: Run, tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "s01").mkdir(parents=True)
    (study / "s01" / "r.csv").write_text("t,ax,ay,az\n" + "".join(f"{i / 10},0,0,9.81\n" for i in range(50)))
    (study / "dataset.yaml").write_text(
        "dataset: study\nlicence: CC0\nimu: {time: {column: t}, channels: {acc_x: ax, acc_y: ay, acc_z: az}, "
        'units: {acc: m/s^2}}\nplacements: {waist: }\nfiles: {imu: "{subject}/{recording}.csv"}\n'
    )
    code, out, err = run("check", study)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"{study}: 1 recordings without a fault, 1 windows"
    with (study / "s01" / "r.csv").open("a") as file:
        file.write("5.0,x,0,9.81\n")
    code, out, _ = run("check", study, "--json")
    assert code == 1
    (fault,) = json.loads(out)["faults"]
    assert fault["file"] == "s01/r.csv"
    code, out, _ = run("check", study)
    assert code == 1
    assert "# faults (1)\nfile\twhat\ttry\ns01/r.csv\ts01/r.csv" in out
    code, out, _ = run("check", tmp_path)
    assert code == 1
    assert "contains no dataset.yaml" in out
