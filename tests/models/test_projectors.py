"""Projectors travel with the encoder folder, and only with the encoder they were trained with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import CheckpointError
from imu_video.models.cross_modal import CrossModalModel, Head
from imu_video.models.projectors import PROJECTORS, load_pair_model, save_projectors

SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
ENCODER = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}


def model(kind: str = "mlp", seed: int = 0, head: Head = "residual", width: int = 10) -> CrossModalModel:
    torch.manual_seed(seed)
    return CrossModalModel(
        student=EncoderBundle(spec=SPEC, encoder=ENCODER),
        teacher_dim=width,
        dim=width,
        projector=kind,  # type: ignore[arg-type]
        head=head,
        hidden={"residual": None, "relu": (12, 7)}.get(head, 12),
        teacher_mean=torch.arange(float(width)),
        teacher_std=torch.arange(float(width)) + 1,
    ).eval()


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("mlp", "residual"),
        ("linear", "residual"),
        ("none", "residual"),
        ("mlp", "batch"),
        ("linear", "linear"),
        ("mlp", "relu"),
        ("random", "batch_gelu"),
        ("none", "none"),
    ],
)
def test_round_trip_gives_the_same_embeddings(tmp_path: Path, kind: str, head: Head) -> None:
    width = 48 if head == "none" else 10  # without a head the embedding is as wide as the student's features
    before = model(kind, head=head, width=width)
    before.student.save(tmp_path / "e", lineage={})
    save_projectors(before, tmp_path / "e", teacher="abc123")
    after, facts = load_pair_model(tmp_path / "e")
    assert (facts.teacher, facts.teacher_dim, facts.video_projector) == ("abc123", width, kind)
    imu, mask = torch.randn(3, 6, 64), torch.rand(3, 6, 64) > 0.1
    teacher = torch.randn(3, width)
    assert torch.equal(before.embed_imu(imu, mask), after.embed_imu(imu, mask))
    assert torch.equal(before.embed_teacher(teacher), after.embed_teacher(teacher))
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        PROJECTORS,
    ]


def test_no_projectors_says_what_to_do(tmp_path: Path) -> None:
    model().student.save(tmp_path / "e", lineage={})
    with pytest.raises(CheckpointError, match=r"projectors\.safetensors: no such file") as error:
        load_pair_model(tmp_path / "e")
    assert "imu-pretrain export" in str(error.value)


def test_projectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        m = model(seed=seed)
        m.student.save(tmp_path / name, lineage={})
        save_projectors(m, tmp_path / name, teacher="t")
    (tmp_path / "b" / PROJECTORS).write_bytes((tmp_path / "a" / PROJECTORS).read_bytes())
    with pytest.raises(CheckpointError, match="trained with encoder weights"):
        load_pair_model(tmp_path / "b")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    m = model()
    m.student.save(tmp_path / "e", lineage={})
    path = save_projectors(m, tmp_path / "e", teacher="t")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_pair_model(tmp_path / "e")
    path.write_bytes(whole)
    state = load_file(path)
    save_file(state, path)  # without the header
    with pytest.raises(CheckpointError, match="damaged"):
        load_pair_model(tmp_path / "e")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projectors") / "e"
    made = model()
    made.student.save(folder, lineage={})
    save_projectors(made, folder, teacher="abc123")
    return folder


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("dim", None, "key 'dim'"),
        ("dim", 0, "key 'dim'"),
        ("dim", 2**40, "key 'dim'"),
        ("dim", 11, "does not fit its own header"),
        ("dim", [10], "key 'dim'"),
        ("teacher_dim", -1, "key 'teacher_dim'"),
        ("teacher_dim", 2**63, "key 'teacher_dim'"),
        ("teacher_dim", 11, "does not fit its own header"),
        ("video_projector", "none", "not expected ['sides."),
        ("video_projector", "linear", "missing ['sides."),
        ("video_projector", "huge", "key 'video_projector'"),
        ("head", "batch", "does not fit its own header"),
        ("head", None, "key 'head'"),
        ("teacher", {}, "key 'teacher'"),
        ("encoder_sha256", "0" * 64, "trained with encoder weights 000000000000"),
        ("encoder_sha256", 7, "key 'encoder_sha256'"),
        ("unknown", 1, "unknown key 'unknown'"),
        ("", [], "header"),
        ("", None, "header"),
    ],
)
def test_an_edit_of_the_header_is_named(exported: Path, tmp_path: Path, key: str, value: Any, words: str) -> None:
    shutil.copytree(exported, tmp_path / "e")
    path = tmp_path / "e" / PROJECTORS
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["imu-video"])
    facts = {**facts, key: value} if key else value
    save_file(load_file(path), path, metadata={"format": "pt", "imu-video": json.dumps(facts)})
    with pytest.raises(CheckpointError) as refused:
        load_pair_model(tmp_path / "e")
    assert str(path) in refused.value.message
    assert words in refused.value.message


def test_widths_of_a_header_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    made = model("none")
    made.student.save(tmp_path / "e", lineage={})
    path = save_projectors(made, tmp_path / "e", teacher="abc123")
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["imu-video"])
    save_file(load_file(path), path, metadata={"format": "pt", "imu-video": json.dumps({**facts, "dim": 9})})
    with pytest.raises(CheckpointError, match=r"projectors\.safetensors, header: "):
        load_pair_model(tmp_path / "e")


def test_projectors_that_are_not_finite_are_refused(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "e")
    path = tmp_path / "e" / PROJECTORS
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors["teacher_mean"][3] = torch.nan
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="teacher_mean has values that are not finite"):
        load_pair_model(tmp_path / "e")
