"""Reading checkpoints: every form that is accepted, nothing that executes code, and errors that name the file."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imu_video.converters import convert, read_checkpoint
from imu_video.errors import CheckpointError
from tests.converters.conftest import tensors, write
from tests.converters.naive import mw2_state

STATE = mw2_state("net.", hidden=8)


def test_every_form_gives_the_same_tensors(tmp_path: Path) -> None:
    save_file(tensors(STATE), tmp_path / "a.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "x", "scale": Infinity}')
    write(folder / "pytorch_model.bin", STATE)
    torch.save(tensors(STATE), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    forms = [
        tmp_path / "a.safetensors",
        write(tmp_path / "a.pt", STATE),
        write(tmp_path / "a.ckpt", STATE, epoch=1, hyper_parameters={"lr": 0.1}),
        tmp_path / "old.pt",
        folder,
    ]
    for path in forms:
        found = read_checkpoint(path)
        assert set(found.tensors) == set(STATE), path
        assert all(torch.equal(found.tensors[name], value) for name, value in tensors(STATE).items())
        assert (found.config is None) == path.is_file()


class Harmful:
    """Writes a file where a reader executes what it finds."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_named_and_not_executed(zipped: bool, tmp_path: Path) -> None:
    path, trap = tmp_path / "a.ckpt", tmp_path / "trap"
    torch.save({"state_dict": tensors(STATE), "x": Harmful(trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"reading it would execute code.*mkdir") as error:
        convert("imu2clip", path, tmp_path / "out")
    assert "python" not in str(error.value.hint), "no command reads a file that calls functions of the system"
    assert not trap.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # a process that loads torch
def test_the_hint_for_such_a_checkpoint_works(tmp_path: Path) -> None:
    path = tmp_path / "their model's best.ckpt"
    torch.save({"state_dict": tensors(STATE), "hyper_parameters": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(CheckpointError, match=r"execute code.*argparse\.Namespace") as error:
        read_checkpoint(path)
    _, command = str(error.value.hint).split("these objects: ")
    words = shlex.split(command)
    assert words[:3] == ["python", "-P", "-c"]
    subprocess.run([sys.executable, "-P", *words[2:]], cwd=tmp_path, check=True)
    assert set(read_checkpoint(tmp_path / "their model's best.safetensors").tensors) == set(STATE)


def damaged(path: Path, how: str) -> Path:
    """A file or folder that holds no readable checkpoint."""
    whole = write(path.with_suffix(".whole"), STATE).read_bytes()
    save_file(tensors(STATE), path.with_suffix(".st"))
    match how:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(b"these are no weights " * 30)
        case "cut safetensors":
            path.write_bytes(path.with_suffix(".st").read_bytes()[:-3])
        case "header":
            path.write_bytes((2**40).to_bytes(8, "little") + b'{"a": 1}')
        case "old and cut":
            torch.save(tensors(STATE), path, _use_new_zipfile_serialization=False)
            path.write_bytes(path.read_bytes()[:-9])
        case "folder":
            path.mkdir()
        case "folder of parts":
            path.mkdir()
            (path / "model.safetensors.index.json").write_text("{}")
        case "folder without config":
            path.mkdir()
            (path / "model.safetensors").write_bytes(path.with_suffix(".st").read_bytes())
        case "folder with a list":
            path.mkdir()
            (path / "model.safetensors").write_bytes(path.with_suffix(".st").read_bytes())
            (path / "config.json").write_text("[]")
        case "a tensor":
            torch.save(torch.zeros(2), path)
        case "numbers":
            torch.save({"a": 1, "b": torch.zeros(2)}, path)
        case "nothing":
            torch.save({}, path)
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "neither a safetensors file nor a readable file"),
        ("empty", "neither a safetensors file nor a readable file"),
        ("text", "neither a safetensors file nor a readable file"),
        ("cut safetensors", "not a readable safetensors file"),
        ("header", "not a readable safetensors file"),
        ("old and cut", "neither a safetensors file nor a readable file"),
        ("absent", "No such file"),
        ("folder", "no model.safetensors and no pytorch_model.bin"),
        ("folder of parts", "stored in several files"),
        ("folder without config", "config.json"),
        ("folder with a list", "config.json: expected a mapping"),
        ("a tensor", "expected tensors by name"),
        ("numbers", "no tensors: a"),
        ("nothing", "expected tensors by name"),
    ],
)
def test_what_is_no_checkpoint(how: str, words: str, tmp_path: Path) -> None:
    path = damaged(tmp_path / "theirs.pt", how)
    with pytest.raises(CheckpointError, match=words) as error:
        read_checkpoint(path)
    assert str(path) in error.value.message


def test_shapes_are_asked_for_by_name(tmp_path: Path) -> None:
    found = read_checkpoint(write(tmp_path / "a.pt", STATE))
    assert found.shape("net.1.net.0.weight", 3) == (32, 6, 10)
    with pytest.raises(CheckpointError, match=r"shape \(6,\), expected 3 axes"):
        found.shape("net.0.weight", 3)
    with pytest.raises(CheckpointError, match=r"no tensor 'net\.9'; it contains 11 tensors: net\.0\.weight"):
        found.shape("net.9")
