"""Encoder folders: features, saving and loading, and refusals."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import firwin, lfilter

from imu_video import load_encoder
from imu_video.bundle.encoder import CONFIG, WEIGHTS, EncoderBundle, push_to_hub, read_config
from imu_video.bundle.input_checks import GRAVITY, check_units
from imu_video.errors import CheckpointError, ConfigError, RecordingError
from imu_video.types import IMU_CHANNELS
from tests.bundle.made import ENCODER, STD, bundle, motion, spec

# ------------------------------------------------------------------------------------------------- encode


def test_encode_is_the_forward_of_training() -> None:
    b = bundle()
    x = motion()
    x[0, 1, 10:20] = np.nan
    mask = torch.from_numpy(np.isfinite(x))
    b.eval()
    expected = b(torch.from_numpy(np.nan_to_num(x)), mask).detach().numpy()
    b.train()
    out = b.encode(x, rate_hz=50)
    assert b.training, "encode must leave the mode as it was"
    assert out.dtype == np.float32
    assert out.shape == (4, b.feature_dim)
    assert np.allclose(out, expected, atol=1e-5)
    assert np.allclose(b.encode(x, rate_hz=50, batch_size=3), out, atol=1e-5)
    assert np.allclose(b.encode(x[1], rate_hz=50), out[1:2], atol=1e-5)
    assert b.encode(x[:0], rate_hz=50).shape == (0, b.feature_dim)


def test_values_under_a_false_mask_never_count() -> None:
    b = bundle().eval()
    x = torch.from_numpy(motion())
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 4, 20:60] = False
    assert torch.equal(b(torch.where(mask, x, 0), mask), b(torch.where(mask, x, 777.0), mask))
    seen: list[torch.Tensor] = []
    b.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    b(torch.where(mask, x, torch.nan), mask)
    assert (seen[0][~mask] == 0).all(), "no encoder meets a NaN"


@pytest.mark.parametrize("rate_hz", [100, 200, 40, 59.6])
def test_encode_takes_any_rate(rate_hz: float) -> None:
    b = bundle()
    reference = b.encode(motion(samples=100, rate_hz=50), rate_hz=50)
    other = b.encode(motion(samples=round(2 * rate_hz), rate_hz=rate_hz), rate_hz=rate_hz)
    distance = np.linalg.norm(other - reference, axis=1)
    apart = np.linalg.norm(reference - reference[::-1], axis=1).min()
    assert (distance < 0.15 * apart).all()


def test_encode_filters_before_it_drops_samples() -> None:
    """White noise above the new Nyquist frequency must not fold into the features."""
    b = bundle()
    fast = motion(samples=400, rate_hz=200)
    hiss = np.random.default_rng(1).normal(0, 1, fast.shape)
    hiss = 10 * lfilter(firwin(101, 60, pass_zero=False, fs=200), 1, hiss, axis=-1)
    clean, noisy = (b.encode(x, rate_hz=200, check_units=False) for x in (fast, fast + hiss))
    naive = b.encode((fast + hiss)[..., ::4], rate_hz=50, check_units=False)
    assert np.abs(noisy - clean).mean() < 0.1 * np.abs(naive - clean).mean()


def test_encode_takes_a_subset_and_any_order_of_channels() -> None:
    b = bundle()
    x = motion()
    full = b.encode(x, rate_hz=50)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = b.encode(x[:, order], rate_hz=50, channels=[IMU_CHANNELS[i] for i in order])
    assert np.array_equal(shuffled, full)
    missing = x.copy()
    missing[:, 3:] = np.nan
    assert np.array_equal(b.encode(x[:, :3], rate_hz=50, channels=IMU_CHANNELS[:3]), b.encode(missing, rate_hz=50))
    acc_only = EncoderBundle(
        spec=spec(channels=IMU_CHANNELS[:3], mean=(0.0,) * 3, std=STD[:3]), encoder={**ENCODER, "width": 8}
    )
    assert acc_only.feature_dim == 24
    assert acc_only.encode(x, rate_hz=50, channels=IMU_CHANNELS).shape == (4, 24)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda x: x.transpose(0, 2, 1), {}, r"transpose\(0, 2, 1\)"),
        (lambda x: x[:, :3], {}, "C=6"),
        (lambda x: x[0, 0], {}, "expected numbers"),
        (lambda x: x.astype(str), {}, "expected numbers"),
        (lambda x: np.where(x > 11, np.inf, x), {}, "infinite"),
        (lambda x: np.where(np.arange(len(x))[:, None, None] == 2, np.nan, x), {}, "window 2"),
        (lambda x: x / 9.8, {}, "unit is probably g"),
        (lambda x: x * 1000 / 9.8, {}, "mg or raw counts"),
        (lambda x: x * np.array([1, 1, 1, 57.3, 57.3, 57.3])[:, None], {}, "deg/s"),
        (
            lambda x: x,
            {"channels": ["ax", "ay", "az", "gx", "gy", "gz"]},
            "'ax': this encoder does not know it and lacks 6",
        ),
        (lambda x: x, {"channels": [*IMU_CHANNELS[:5], "gyr_Z"]}, "'gyr_Z': .* lacks 1 .*; did you mean 'gyr_z'"),
        (lambda x: x, {"channels": [*IMU_CHANNELS[:5], "gyr z"]}, "'gyr z' is not a channel name"),
        (lambda x: x, {"channels": [*IMU_CHANNELS[:5], "acc_x"]}, "'acc_x' is listed twice"),
    ],
)
def test_encode_refuses_what_cannot_be_meant(change: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        bundle().encode(change(motion()), rate_hz=50, **options)


@pytest.mark.parametrize("period_of", [1, 1e-6, 1e-9])
def test_a_period_given_as_a_rate_is_refused_and_its_hint_helps(period_of: float) -> None:
    b, x = bundle(), motion(rows=2, samples=100, rate_hz=50)
    with pytest.raises(ConfigError, match=r"expected samples per second within 1 \.\. 10000") as caught:
        b.encode(x, rate_hz=0.02 / period_of)
    right = re.search(r"rate_hz=(\S+)$", str(caught.value.hint))
    assert right
    assert np.array_equal(b.encode(x, rate_hz=float(right[1])), b.encode(x, rate_hz=50))


@pytest.mark.parametrize(
    ("samples", "rate_hz", "words"),
    [
        (2, 100, r"last 0.02 s, expected 0.1 s \.\. 2 min"),
        (360_000, 50, "last 2 h, expected(.|\n)*cut the signal into windows"),
        (100, 5000, r"last 0\.02 s"),
    ],
)
def test_windows_of_implausible_length_are_refused(samples: int, rate_hz: float, words: str) -> None:
    x = np.broadcast_to(np.float32([9.8, 0, 0, 0, 0, 0])[:, None], (1, 6, samples))
    with pytest.raises(RecordingError, match=words):
        bundle().encode(x, rate_hz=rate_hz)


def test_a_period_in_milliseconds_is_told_by_the_length_of_the_windows() -> None:
    b, x = bundle(window_s=1), motion(rows=2, samples=500, rate_hz=500)
    with pytest.raises(RecordingError, match="period in milliseconds, rate_hz=500") as caught:
        b.encode(x, rate_hz=2)
    assert "rate_hz=500;" in str(caught.value.hint)
    assert b.encode(x, rate_hz=500).shape == (2, 96)
    assert b.encode(x[..., :20], rate_hz=500, check_units=False).shape == (2, 96)


def test_a_window_that_resampling_empties_is_refused() -> None:
    sparse = np.full((2, 6, 800), np.nan, np.float32)
    sparse[0] = motion(1, 800, 400)[0]
    sparse[1, :, 400] = 5.6
    with pytest.raises(RecordingError, match="too few samples to resample"):
        bundle().encode(sparse, rate_hz=400)


def test_unit_checks_know_when_to_be_silent() -> None:
    b = bundle()
    assert b.encode(motion() / 9.8, rate_hz=50, check_units=False).shape == (4, 96)
    linear = motion()
    linear[:, 2] -= 9.8
    assert bundle(gravity="removed").encode(linear, rate_hz=50).shape == (4, 96)
    assert b.encode(motion()[:, :1] / 9.8, rate_hz=50, channels=["acc_x"]).shape == (4, 96)
    with pytest.raises(ConfigError, match="rate_hz"):
        b.encode(motion(), rate_hz=0)


# ------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.7])
def test_unit_checks_equal_the_plain_medians(missing: float) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for scale in (0.05, 0.39, 0.41, 1.0, 3.9, 4.1, 20.0):
        for turn in (1.0, 30.0, 300.0):
            x = motion(rows=8) * np.array([scale] * 3 + [turn] * 3, np.float32)[:, None]
            x[rng.random((8, 1, 100)).repeat(6, axis=1) < missing] = np.nan
            norm = np.linalg.norm(x[:, :3].astype(np.float64), axis=1)
            odd = not 0.4 * GRAVITY < np.nanmedian(norm) < 4 * GRAVITY or np.nanquantile(np.abs(x[:, 3:]), 0.999) > 60
            try:
                check_units(x, IMU_CHANNELS, spec())
                refused = False
            except RecordingError:
                refused = True
            assert refused == odd, f"{scale=}, {turn=}"
            seen.add(refused)
    assert seen == {True, False}


def test_windows_that_must_not_be_written_to_are_encoded_without_a_word() -> None:
    b, x = bundle(), motion()
    expected = b.encode(x, rate_hz=50)
    x.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(b.encode(x, rate_hz=50), expected)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lineage = {
        "dataset": "synthetic",
        "subjects": {"train": ["s01", "s02"], "val": ["s03"]},
        "teacher": {"name": "tiny", "fingerprint": "abc123"},
        "steps": 100,
        "licences": {"data": "CC0-1.0", "teacher | weights": "Apache-2.0"},
    }
    return bundle().save(tmp_path / "encoder", lineage=lineage)


def test_a_folder_comes_back_as_it_was(folder: Path) -> None:
    original, loaded = bundle(), load_encoder(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not loaded.training
    assert loaded.spec == original.spec
    assert loaded.encoder_config == original.encoder_config
    assert loaded.encoder_config["norm"] == "layer", "defaults are written out"
    assert np.array_equal(loaded.encode(motion(), rate_hz=50), original.encode(motion(), rate_hz=50))
    again = loaded.save(folder.parent / "again")
    assert read_config(again)["lineage"] == read_config(folder)["lineage"]
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


def test_buffers_of_batch_norm_travel(tmp_path: Path) -> None:
    b = EncoderBundle(spec=spec(), encoder={**ENCODER, "norm": "batch"})
    b(torch.from_numpy(motion()))  # moves the running statistics
    b.save(tmp_path / "bn")
    assert np.array_equal(load_encoder(tmp_path / "bn").encode(motion(), rate_hz=50), b.encode(motion(), rate_hz=50))


def test_the_card_tells_the_facts(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for fact in (
        "patch_tst",
        "| gyr_z | rad/s | 0 | 1.5 |",
        "50 Hz",
        "| subjects.train | 2 |",
        "| teacher.fingerprint | abc123 |",
        "| data | CC0-1.0 |",
        "teacher \\| weights",
        "load_encoder",
        read_config(folder)["weights_sha256"],
    ):
        assert fact in card
    assert "s01" not in card
    bundle().save(folder.parent / "bare")
    bare = (folder.parent / "bare" / "README.md").read_text()
    assert "No lineage was recorded" in bare
    assert "No licences were recorded" in bare


def test_the_usage_in_the_card_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (folder / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder))
    np.save(folder.parent / "windows.npy", motion())
    monkeypatch.chdir(folder.parent)
    scope: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), scope)
    assert scope["features"].shape == (4, 96)


def test_saving_refuses_to_overwrite(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="already contains an encoder"):
        bundle().save(folder)
    other = bundle(seed=1)
    other.save(folder, force=True)
    assert np.array_equal(load_encoder(folder).encode(motion(), rate_hz=50), other.encode(motion(), rate_hz=50))
    (folder.parent / "notes").mkdir()
    (folder.parent / "notes" / "a.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not an encoder folder"):
        bundle().save(folder.parent / "notes", force=True)
    assert (folder.parent / "notes" / "a.txt").read_text() == "mine"
    (folder.parent / "empty").mkdir()
    bundle().save(folder.parent / "empty")


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="lineage must be JSON"):
        bundle().save(tmp_path / "encoder", lineage={"loss": math.nan})

    def fail(config: Any) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("imu_video.bundle.encoder.render", fail)
    with pytest.raises(OSError, match="disk full"):
        bundle().save(tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_bit, "sha256"),
        (lambda f: (f / WEIGHTS).unlink(), "model.safetensors: No such file"),
        (lambda f: (f / CONFIG).unlink(), "config.json: No such file"),
        (lambda f: (f / CONFIG).write_text("{"), "not readable as JSON"),
        (lambda f: (f / CONFIG).write_text('{"model_type": "bert"}'), "not an imu-video encoder"),
        (lambda f: edit(f, format_version=2), "format version 2"),
        (lambda f: edit(f, encoder={"name": "patch_tsd"}), "did you mean 'patch_tst'"),
        (lambda f: edit(f, encoder={"name": "patch_tst", "wdith": 3}), "did you mean 'width'"),
        (lambda f: edit(f, encoder={**ENCODER, "width": 8}), "does not fit"),
        (lambda f: edit(f, input={"rate_hz": 50}), "input"),
    ],
)
def test_damaged_folders_are_named(folder: Path, damage: Any, words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_encoder(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_run_folder_is_told_from_an_encoder_folder(tmp_path: Path) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="mine is a run folder, not an encoder folder") as error:
        load_encoder(tmp_path / "mine")
    assert f"imu-pretrain export {tmp_path / 'mine'} OUT" in str(error.value.hint)


def test_forward_refuses_arrays() -> None:
    with pytest.raises(TypeError, match="imu must be a torch tensor"):
        bundle()(motion())


def test_a_foreign_encoder_needs_matching_channels() -> None:
    with pytest.raises(ConfigError, match="takes 4 channels, the input has 6"):
        EncoderBundle(spec=spec(), encoder={**ENCODER, "channels": 4})


def test_loading_needs_only_light_packages(folder: Path) -> None:
    """Heavy packages are blocked, then an encoder is loaded and fed at another rate."""
    heavy = ["webdataset", "timm", "torchvision", "decord", "accelerate", "av", "pandas", "sklearn", "matplotlib"]
    heavy += ["einops", "huggingface_hub", "typer", "rich", "transformers"]
    code = f"""
import sys
for name in {heavy}:
    sys.modules[name] = None  # any import of it now fails
import numpy as np
from imu_video import load_encoder
x = np.random.default_rng(0).normal(0, 1, (2, 6, 200)) + np.array([0, 0, 9.8, 0, 0, 0])[:, None]
out = load_encoder({str(folder)!r}).encode(x, rate_hz=100)
assert out.shape == (2, 96) and np.isfinite(out).all()
outside = {{m.split(".")[0] for m in sys.modules if sys.modules[m] is not None}}
rooms = ("imu_video.datasets", "imu_video.teachers", "imu_video.shards", "pretrain", "eval")
print(sorted(outside & set({heavy})), [m for m in sys.modules if m.startswith(rooms)])
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] []"


def test_push_uploads_a_checked_folder(folder: Path) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> str:
            calls.append(("create", {"repo_id": repo_id, **options}))
            return f"https://hub.example/{repo_id}"

        def upload_folder(self, **options: Any) -> None:
            calls.append(("upload", options))

    assert push_to_hub(folder, "me/encoder", api=Api()) == "https://hub.example/me/encoder"
    assert calls[0] == ("create", {"repo_id": "me/encoder", "private": True, "exist_ok": True})
    assert calls[1][1]["folder_path"] == str(folder)
    assert calls[1][1]["repo_id"] == "me/encoder"
    flip_a_bit(folder)
    calls.clear()
    with pytest.raises(CheckpointError):
        push_to_hub(folder, "me/encoder", api=Api())
    assert not calls
