"""Names, paths and secrets appear only where docs/reference/privacy.md says: every command is run, every output read.

Canaries are distinctive words planted in every source: recordings, `dataset.yaml`, configs, environment, folders, names
of user and host. The table of the page is read by the test, so that page and program cannot differ.
"""

from __future__ import annotations

import platform
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import eval.cli
import imu_video.cli.app
import pretrain.cli
from imu_video import registry
from imu_video.modalities.mp4 import encode_mp4
from imu_video.runtime import references
from tests.datasets.folder.studies import declaration
from tests.faults.conftest import Score

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "privacy.md"
SECONDS, RATE, FPS = 16, 50, 5
SUBJECTS = [f"canarysubject{n}" for n in range(6)]
LABELS = ("canarylabel-walk", "canarylabel-sit")
SECRET, VALUE = "canarysecret-1f0c9a", "canaryvalue-77ab"
CANARIES = {
    "value of an environment variable": (SECRET, VALUE),
    "credentials of an address": ("canarypassword", "canarytoken"),
    "absolute path": ("canaryhome",),
    "user name, host name": ("canaryuser", "canaryhost"),
    "names of subjects": ("canarysubject",),
    "names of recordings and files": ("canaryrecording",),
    "names of classes": ("canarylabel",),
    "name and citation of the dataset": ("canarydataset", "canarycitation"),
    "licence": ("canarylicence",),
    "notes in `dataset.yaml`": ("canarynote",),
}
PLUGIN = '''
from imu_video.encoders.segment_cnn import SegmentCNN
from imu_video.registry import encoders, teachers
from imu_video.teachers.tiny import TinyTeacher


@teachers.register("guarded")
class Guarded(TinyTeacher):
    """A teacher whose weights need a token."""

    def __init__(self, *, token: str, dim: int = 16) -> None:
        assert token == "{secret}"
        super().__init__(dim=dim)
        self.token = token

    def recipe(self) -> dict:
        return {{**super().recipe(), "name": "guarded", "token": self.token}}


@encoders.register("labelled")
class Labelled(SegmentCNN):
    """An encoder with a text among its arguments."""

    def __init__(self, *, channels: int = 6, note: str = "") -> None:
        assert note.startswith("at canaryvalue-")
        super().__init__(channels=channels, width=8, blocks=2)
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "canaryhome"
    home.mkdir()
    environment = {"HOME": str(home), "USER": "canaryuser", "LOGNAME": "canaryuser", "HOSTNAME": "canaryhost"}
    environment |= {"CANARY_RAW": str(home / "raw"), "CANARY_TOKEN": SECRET, "CANARY_NOTE": VALUE}
    environment |= {"CANARY_FRACTION": "0.5", "OTHER_SECRET": "canarysecret-other"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: "canaryhost")
    monkeypatch.setattr(platform, "node", lambda: "canaryhost")
    for table in ("_values", "_named", "_keys"):
        monkeypatch.setattr(references, table, {})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield home
    for known, name in ((registry.teachers, "guarded"), (registry.encoders, "labelled")):
        known._classes.pop(name, None)


def record(raw: Path) -> None:
    """Six subjects with one recording each: two activities, one device, one video."""
    rng = np.random.default_rng(0)
    changes = {"dataset": "canarydataset", "citation": "canarycitation 2024", "licence": "canarylicence-1.0"}
    files = {"imu": "{subject}/{recording}_{placement}.csv", "video": "{subject}/{recording}.mp4", "offset_s": 0.0}
    files["labels"] = "{subject}/{recording}_labels.csv"
    text = yaml.safe_dump(declaration(**changes, files=files, labels=list(LABELS)))
    raw.mkdir(parents=True)
    (raw / "dataset.yaml").write_text(f"# canarynote: told by canarysubject0\n{text}")
    for n, subject in enumerate(SUBJECTS):
        (raw / subject).mkdir()
        t = np.arange(SECONDS * RATE) / RATE
        moving = np.sin(2 * np.pi * (1 + n / 10) * t) * (t < SECONDS / 2)
        rows = ["t,ax,ay,az,gx,gy,gz"]
        for i, time in enumerate(t):
            noise = rng.normal(0, 0.01, 6)
            values = np.array([moving[i] * 0.3, 1.0, 0.0, 0.0, 40 * moving[i], 5.0]) + noise
            rows.append(f"{round(time * 1000)}," + ",".join(f"{v:.4f}" for v in values))
        (raw / subject / "canaryrecording_wrist.csv").write_text("\n".join(rows) + "\n")
        half = SECONDS * 500
        (raw / subject / "canaryrecording_labels.csv").write_text(
            f"start,end,label\n0,{half},{LABELS[0]}\n{half},{2 * half},{LABELS[1]}\n"
        )
        pictures = rng.integers(0, 256, (SECONDS * FPS, 32, 32, 3), dtype=np.uint8)
        (raw / subject / "canaryrecording.mp4").write_bytes(encode_mp4(pictures, FPS))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run one command in this process: exit code, and what it printed on stdout and stderr."""
    programs = {"imu-video": imu_video.cli.app.main, "imu-pretrain": pretrain.cli.main, "imu-eval": eval.cli.main}

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        code = 0
        try:
            programs[str(words[0])]()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return command


def allowed() -> dict[str, set[str]]:
    """Canary -> outputs in which it may appear, from the table of the page."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: {name for name, mark in zip(head[1:], row[1:], strict=True) if mark == "yes"} for row in rows}


def content(*paths: Path) -> bytes:
    """Names and bytes of all files."""
    parts = []
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        parts += [str(file.relative_to(path.parent)).encode() + b"\n" + file.read_bytes() for file in files]
        for file in files:
            if file.suffix == ".npz":  # compressed, and texts in it have four bytes per character
                with np.load(file) as arrays:
                    parts += [str(arrays[name].tolist()).encode() for name in arrays]
    assert parts, paths
    return b"\n".join(parts)


def test_canaries(home: Path, run: Callable[..., tuple[int, str]], score: Score) -> None:
    raw, data, folder, encoder = home / "raw", home / "data", home / "run", home / "encoder"
    record(raw)
    (home / "parts.py").write_text(PLUGIN.format(secret=SECRET))
    build = {
        "dataset": {"name": "folder", "root": "${CANARY_RAW}"},
        "window": {"seconds": 2.0, "stride_s": 1.0, "rate_hz": 25, "clip_fps": 5, "clip_size": 32},
        "splits": {"subjects": {"train": SUBJECTS[:2], "val": SUBJECTS[2:4], "test": SUBJECTS[4:]}},
    }
    train = {
        "name": "recipe-${CANARY_NOTE}",
        "data": {"root": str(data), "batch_size": 8},
        "encoder": {"name": "labelled", "note": "at ${CANARY_NOTE}"},
        "projector": {"dim": 8, "dropout": "${CANARY_FRACTION}", "segments": 2},
        "optim": {"steps": 4},
        "run": {"device": "cpu", "validate_every": 2, "checkpoint_every": 2},
    }
    for name, config in (
        ("build", build),
        ("train", train),
        ("teacher", {"name": "guarded", "token": "${CANARY_TOKEN}"}),
    ):
        (home / f"{name}.yaml").write_text(yaml.safe_dump(config))
    plugin, evaluation = ("--plugin", home / "parts.py"), ("--out", home / "results.jsonl")
    fast = ("references.untrained_seeds=[0]", "episodes.episodes=2", "episodes.shots=[1]")
    commands: list[tuple[object, ...]] = [
        ("imu-video", "check", raw, home / "build.yaml"),
        ("imu-video", "build", home / "build.yaml", data),
        ("imu-video", "build", home / "build.yaml", data),
        ("imu-video", "verify", data),
        ("imu-video", "inspect", data),
        ("imu-video", "inspect", data, "--html", home / "page.html"),
        ("imu-video", "inspect", data, "--recording", f"{SUBJECTS[0]}-canaryrecording", "--html", home / "one.html"),
        ("imu-video", "embed", data, home / "teacher.yaml", *plugin),
        ("imu-video", "inspect", data),
        ("imu-pretrain", "launch", home / "train.yaml", "--run", folder, *plugin),
        ("imu-pretrain", "launch", folder / "config.yaml", "--run", folder, *plugin),
        ("imu-pretrain", "status", folder),
        ("imu-pretrain", "export", folder, encoder, *plugin),
        ("imu-eval", "fewshot", encoder, data, *fast, *evaluation, *plugin),
        ("imu-eval", "report", home / "results.jsonl", home / "report", "--run", folder),
    ]
    terminal = []
    with score("a command on data with canaries succeeds") as case:
        for words in commands:
            code, shown = run(*words)
            terminal.append(shown)
            case.add(code == 0, f"{' '.join(map(str, words))}: {code}\n{shown[-800:]}")
    away, other = "data.root=https://u:canarypassword@127.0.0.1:9/x", "encoder.note=at canaryvalue-other"
    refused: list[tuple[object, ...]] = [
        ("imu-video", "fetch", "https://canaryuser:canarypassword@127.0.0.1:9/data", home / "copy"),
        ("imu-video", "fetch", "https://127.0.0.1:9/data?access_token=canarytoken", home / "copy"),
        ("imu-pretrain", "launch", home / "train.yaml", away, "--run", home / "r2", *plugin),
        ("imu-pretrain", "launch", home / "train.yaml", other, "--run", folder, *plugin),
        ("imu-pretrain", "launch", home / "train.yaml", f"data.root={raw}", "--run", home / "r3", *plugin),
    ]  # fmt: skip
    with score("a refused command shows no secret") as case:
        for words in refused:
            code, shown = run(*words)
            terminal.append(shown)
            case.add(code in (2, 3), f"{words}: {code}\n{shown}")

    outputs = {
        "terminal": "\n".join(terminal).encode(),
        "data folder": content(*(p for p in data.iterdir() if p.name != "teachers")),
        "teacher features": content(data / "teachers"),
        "pages of `inspect`": content(home / "page.html", home / "one.html"),
        "run folder": content(*(p for p in folder.iterdir() if p.name != "checkpoints")),
        "checkpoints": content(folder / "checkpoints"),
        "encoder folder": content(*(p for p in encoder.iterdir() if p.name != "README.md")),
        "model card": content(encoder / "README.md"),
        "result lines": content(*home.glob("results*")),
        "report": content(home / "report"),
    }
    known = {"raw", "data", "run", "encoder", "report", "page.html", "one.html", "parts.py", "build.yaml", "train.yaml"}
    known |= {"teacher.yaml", "__pycache__", *(path.name for path in home.glob("results*"))}
    assert {path.name for path in home.iterdir() if path.name[0] != "."} <= known  # libraries keep caches there
    assert list((home.parent / "work").iterdir()) == []
    table = allowed()
    assert set(table) == set(CANARIES)
    assert {name for row in table.values() for name in row} <= set(outputs)
    found: dict[str, set[str]] = {}
    with score("an output contains a canary only where the documentation says") as case:
        for canary, words in CANARIES.items():
            for output, text in outputs.items():
                hit = [word for word in words if word.encode() in text]
                if hit:
                    found.setdefault(canary, set()).add(output)
                at = text.find(hit[0].encode()) if hit else 0
                right = not hit or output in table[canary]
                case.add(right, f"{canary} in {output}: {text[max(0, at - 100) : at + 60]!r}")
    # Nothing is allowed that does not happen; which names the terminal shows depends on the command.
    written = {canary: row - {"terminal"} for canary, row in table.items() if row - {"terminal"}}
    assert {canary: row - {"terminal"} for canary, row in found.items() if row - {"terminal"}} == written
    stored = (folder / "config.yaml").read_text() + (encoder / "config.json").read_text()
    assert stored.count("at ${CANARY_NOTE}") >= 2
    assert re.search(r"dropout: \$\{CANARY_FRACTION\}", stored)
