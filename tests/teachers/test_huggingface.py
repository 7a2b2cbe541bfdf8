"""Hub teachers on tiny models with random weights that the test makes; downloads are not tested, their failure is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from imu_video.errors import ConfigError
from imu_video.registry import teachers
from imu_video.testing import check_teacher

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "do_resize": True, "size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
    "resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 255,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as the hub would hold them."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    made = {
        "videomae": transformers.VideoMAEModel(transformers.VideoMAEConfig(**SIZES, num_frames=4)),
        "timesformer": transformers.TimesformerModel(transformers.TimesformerConfig(**SIZES, num_frames=2)),
        "vjepa2": transformers.VJEPA2Model(
            transformers.VJEPA2Config(
                hidden_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                crop_size=32,
                frames_per_clip=4,
                pred_hidden_size=12,
                pred_num_hidden_layers=1,
                pred_num_attention_heads=1,
            )
        ),
        "clip": transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**SIZES, projection_dim=12)),
        "bert": transformers.BertModel(
            transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ),
    }
    for name, model in made.items():
        model.save_pretrained(root / name)
        (root / name / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    return {name: root / name for name in made}


@pytest.mark.parametrize(
    ("name", "width", "frames"), [("videomae", 16, 4), ("timesformer", 16, 2), ("vjepa2", 24, 4), ("clip", 12, 8)]
)
def test_contract_and_fingerprint(name: str, width: int, frames: int, models: dict[str, Path]) -> None:
    teacher = teachers.build({"name": "hf", "model": str(models[name])})
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (3, frames, 40, 48, 3), generator=generator, dtype=torch.uint8)
    check_teacher(teacher, inputs=clips)
    assert (teacher.feature_dim, teacher.frames) == (width, frames)
    assert teacher.sample_indices(2) == sorted(teacher.sample_indices(2))
    assert len(teacher.sample_indices(50)) == frames
    again = teachers.build({"name": "hf", "model": str(models[name])})
    assert again.fingerprint == teacher.fingerprint
    other = teachers.build({"name": "hf", "model": str(models[name]), "mean": [0, 0, 0], "std": [1, 1, 1]})
    assert other.fingerprint != teacher.fingerprint


def test_video_features_are_the_mean_of_the_last_tokens(models: dict[str, Path]) -> None:
    teacher = teachers.build({"name": "hf", "model": str(models["videomae"]), "mean": [0, 0, 0], "std": [1, 1, 1]})
    clip = torch.randint(0, 256, (1, 4, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    network = transformers.VideoMAEModel.from_pretrained(models["videomae"]).eval()
    with torch.no_grad():
        expected = network(pixel_values=clip.permute(0, 1, 4, 2, 3).float()).last_hidden_state.mean(1)
    torch.testing.assert_close(teacher.encode(clip), expected)


def test_the_model_s_own_preprocessing_is_that_of_its_processor(models: dict[str, Path]) -> None:
    teacher = teachers.build({"name": "hf", "model": str(models["clip"])})
    wave = torch.sin(torch.arange(48)[:, None, None] / 5 + torch.arange(64)[:, None] / 9 + torch.arange(3))
    picture = (128 + 100 * wave).to(torch.uint8)  # smooth: libraries clip sharp edges between rows and columns
    processor = transformers.CLIPImageProcessor.from_pretrained(models["clip"])
    theirs = processor(images=picture.numpy(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(teacher.prepare(picture[None]), theirs, atol=0.03, rtol=0)
    assert teacher.describe()["transform"]["mean"] == [102, 127.5, 153]


def test_stated_colours_replace_it_and_a_model_without_any_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(models["clip"], tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    entry = {"name": "hf", "model": str(tmp_path / "bare")}
    with pytest.raises(ConfigError, match="states no preprocessing"):
        teachers.build(entry)
    stated = teachers.build({**entry, "mean": [0, 0, 0], "std": [255, 255, 255]})
    assert stated.describe()["transform"] == {
        "crop": "middle square", "image_size": 32, "mean": [0, 0, 0], "std": [255, 255, 255]
    }  # fmt: skip
    with pytest.raises(ConfigError, match="mean and std belong together"):
        teachers.build({**entry, "mean": [0, 0, 0]})
    with pytest.raises(ConfigError, match="takes images of 32 x 32 pixels, got image_size 64"):
        teachers.build({"name": "hf", "model": str(models["videomae"]), "image_size": 64})


def test_clip_features_are_the_mean_of_the_frames(models: dict[str, Path]) -> None:
    teacher = teachers.build({"name": "hf", "model": str(models["clip"]), "frames": 2})
    clip = torch.randint(0, 256, (1, 2, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    alone = [teacher.encode(clip[:, i : i + 1]) for i in range(2)]
    torch.testing.assert_close(teacher.encode(clip), (alone[0] + alone[1]) / 2)


@pytest.fixture(scope="module")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model with both towers and a tokenizer of single letters."""
    root = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (root / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (root / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(root / "vocab.json"), str(root / "merges.txt")).save_pretrained(root)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text |= {"vocab_size": len(tokens), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**text, "projection_dim": 12}, vision_config={**SIZES, "projection_dim": 12}, projection_dim=12
    )
    transformers.CLIPModel(config).save_pretrained(root)
    (root / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    return root


def test_clip_texts_lie_in_the_space_of_its_pictures(whole_clip: Path) -> None:
    entry = {"name": "hf", "model": str(whole_clip), "projection": {"name": "orthogonal", "dim": 6}}
    teacher = teachers.build(entry)
    fingerprint = teacher.fingerprint
    texts = ["a person walks", "sitting"]
    found = teacher.encode_text(texts)
    model = transformers.CLIPModel.from_pretrained(whole_clip).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(whole_clip)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.text_projection(model.text_model(**tokens).pooler_output)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found, teacher.projection(expected))
    torch.testing.assert_close(teacher.encode_text(texts[1:]), found[1:], rtol=1e-4, atol=1e-5)
    assert teacher.fingerprint == fingerprint, "the text tower is no part of the cached features"


def test_texts_are_refused_where_they_share_no_space(models: dict[str, Path], whole_clip: Path, tmp_path: Path) -> None:
    for name in ("videomae", "clip"):
        with pytest.raises(ConfigError, match="has no joint image-text embedding space"):
            teachers.build({"name": "hf", "model": str(models[name])}).encode_text(["walking"])
    with pytest.raises(ConfigError, match="no text encoder aligned") as caught:
        teachers.build("tiny").encode_text(["walking"])
    assert "sentence" in str(caught.value.hint)
    shutil.copytree(whole_clip, tmp_path / "half")
    model = transformers.CLIPModel.from_pretrained(whole_clip)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("text")}
    safetensors.torch.save_file(state, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="lacks text weights"):
        teachers.build({"name": "hf", "model": str(tmp_path / "half")}).encode_text(["walking"])


def test_what_cannot_be_had_is_one_message(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is a 'bert'; supported: videomae"):
        teachers.build({"name": "hf", "model": str(models["bert"])})
    with pytest.raises(ConfigError, match="trained on 4 frames, got frames 3"):
        teachers.build({"name": "hf", "model": str(models["videomae"]), "frames": 3})

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(ConfigError, match="could not be loaded: OSError: We couldn't connect to the hub"):
        teachers.build({"name": "hf", "model": "MCG-NJU/videomae-base"})


def test_weights_that_would_be_unpickled_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(models["videomae"], folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="could not be loaded"):
        teachers.build({"name": "hf", "model": str(folder)})
