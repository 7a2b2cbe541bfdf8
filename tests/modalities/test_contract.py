"""Built-in modalities and one of a plugin fulfil the contract; broken ones are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError, ShardError
from imu_video.modalities import Imu, Modality, Skeleton, SkeletonTrack, Video, base, modality_of
from imu_video.modalities.base import member_limit, specs_from_index, specs_to_index, stream_of
from imu_video.registry import load_plugin, modalities
from imu_video.shards.names import parse_member
from imu_video.testing import check_modality
from imu_video.types import ImuStream

PLUGIN = Path(__file__).parent / "pressure_plugin.py"
TIMES = np.arange(40) / 10


class Ramp:
    """Grey frames at 10 Hz."""

    times = TIMES

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return np.broadcast_to(np.array(indices, np.uint8)[:, None, None, None] * 4, (len(indices), 24, 32, 3)).copy()


def streams() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "imu": ImuStream(placement="waist", times=TIMES, values=rng.normal(size=(6, 40))),
        "video": Ramp(),
        "skeleton": SkeletonTrack(times=TIMES, joints=rng.normal(size=(40, 3, 3)), names=("a", "b", "c")),
    }


@pytest.mark.parametrize("entry", [{"name": "imu"}, {"name": "video", "size": 32}, {"name": "skeleton"}])
def test_built_ins_fulfil_the_contract(entry: dict[str, Any]) -> None:
    check_modality({**entry, "fps": 5}, stream=streams()[entry["name"]])


def test_a_plugins_modality_fulfils_the_contract() -> None:
    load_plugin(PLUGIN)
    insole = make_dataclass("Insole", ["times", "values"], frozen=True)
    values = np.random.default_rng(0).normal(size=(40, 6))
    check_modality({"name": "pressure", "fps": 5}, stream=insole(TIMES, values))
    assert parse_member("k.pressure.npy") == ("k", "pressure.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "meta"}, "none of"),
        ({"name": "Skeleton"}, "use a-z"),
        ({"axes": "F J"}, "expected axes 'F J'"),
        ({"dtype": "float64"}, "of float64"),
        ({"encode": lambda self, values, spec: b"\x93NUMPY"}, "not a readable"),
        ({"decode": lambda self, data, name, spec: np.zeros(spec.shape, np.float32)}, "differs from what was written"),
        ({"verify": lambda self, data, name, spec: None}, "accepts damaged bytes"),
        ({"cut": lambda self, stream, span: np.zeros((5, 3, 3), np.float32)}, "100 s after the stream's end"),
        ({"motion": lambda self, stream, placements, segments: []}, "for each of 2 placements"),
        ({"motion": Modality.motion}, "implements motion"),
        ({"retimed": lambda self, stream, correct: stream}, "corrected times"),
    ],
)
def test_a_broken_contract_is_named(change: dict[str, Any], message: str) -> None:
    broken = type("Broken", (Skeleton,), {"name": "skeleton", **change})
    kind = broken(fps=5)
    if "name" not in change:
        # The registered class is another one: what is checked here comes after that.
        modalities._classes["skeleton"], before = broken, modalities._classes["skeleton"]
    try:
        with pytest.raises((AssertionError, NotImplementedError, ShardError), match=message):
            check_modality(kind, stream=streams()["skeleton"])
    finally:
        if "name" not in change:
            modalities._classes["skeleton"] = before


def test_names_of_streams_and_members() -> None:
    assert isinstance(modality_of("video.depth"), Video)
    assert isinstance(modality_of("imu.waist"), Imu)
    assert stream_of("video.depth.mp4") == "video.depth"
    assert member_limit("imu.waist.npy") == 256 << 20
    assert [member_limit(s) for s in ("imu.npy", "skeleton.left.npy", "video.npy", "audio.wav", "")] == [None] * 5
    with pytest.raises(ConfigError, match="unknown modality 'skeletons'; did you mean 'skeleton'"):
        modality_of("skeletons")
    with pytest.raises(ShardError, match="has one skeleton"):
        modality_of("skeleton.left")


def test_members_of_a_plugin_that_is_loaded_later_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugin(PLUGIN)
    known = dict(modalities._classes)
    for cached in (base.modality_of, base._limit_of):
        cached.cache_clear()
    monkeypatch.delitem(modalities._classes, "pressure")
    assert member_limit("pressure.npy") is None
    monkeypatch.setitem(modalities._classes, "pressure", known["pressure"])
    assert member_limit("pressure.npy") == 256 << 20


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="fps"):
        Skeleton(fps=0)
    with pytest.raises(ConfigError, match="size"):
        Video(fps=5, size=8)
    with pytest.raises(ValueError, match="has no frame"):
        Skeleton(fps=1).check_window(0.1)


def test_keys_of_the_index_keep_their_place() -> None:
    clip = {"fps": 5.0, "frames": 3, "height": 16, "width": 16}
    raw = {"clip": clip, "views": {"depth": clip}, "skeleton": None, "rate_hz": 20}
    read = specs_from_index(raw)
    assert read == {"rate_hz": 20, "streams": {"video": clip, "video.depth": clip}}
    specs = {name: modality_of(name).spec.model_validate(value) for name, value in read["streams"].items()}
    assert specs_to_index(specs) == {"clip": clip, "views": {"depth": clip}, "skeleton": None}
    assert specs_to_index({}) == {"clip": None, "skeleton": None}
