"""Clip augmentations against what they say, and their place: torchvision is loaded by this module alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.transforms import video
from imu_video.transforms.video import ClipColour, ClipCompose, ClipCrop, ClipFlip, ClipGrey


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(frames: int = 3, height: int = 40, width: int = 56) -> torch.Tensor:
    """Colours that tell the place."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    one = torch.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], dim=-1).to(torch.uint8)
    return one.repeat(frames, 1, 1, 1)


def test_flip_and_grey() -> None:
    clip = picture()
    assert torch.equal(ClipFlip(p=1.0)(clip, seeded()), clip.flip(2))
    grey = ClipGrey(p=1.0)(clip, seeded())
    assert torch.equal(grey[..., 0], grey[..., 1])
    luma = clip.double() @ torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float64)
    assert (grey[..., 0].double() - luma).abs().max() <= 1


def test_a_crop_is_a_part_of_the_frame_of_at_least_that_area() -> None:
    crop = ClipCrop(min_area=0.5, max_aspect=1.5)
    smallest = 1.0
    for seed in range(60):
        out = crop(picture(1), seeded(seed))[0].double()
        # the colours are ramps: their range tells which part of the frame is shown
        tall = (out[..., 0].max() - out[..., 0].min()) / 255
        wide = (out[..., 1].max() - out[..., 1].min()) / 255
        smallest = min(smallest, float(tall * wide))
    assert 0.35 < smallest < 0.6
    whole = ClipCrop(min_area=1.0, max_aspect=1.0)(picture(), seeded())
    assert torch.equal(whole, picture())


def test_colours_move_within_their_spread() -> None:
    bright = ClipColour(brightness=0.5, contrast=0, saturation=0, hue=0, p=1.0)
    ratios = [float(bright(picture(), seeded(s)).double().mean() / picture().double().mean()) for s in range(40)]
    assert 0.49 < min(ratios) < 0.7
    assert 1.1 < max(ratios) < 1.5
    nothing = ClipColour(brightness=0, contrast=0, saturation=0, hue=0, p=1.0)
    assert torch.equal(nothing(picture(), seeded()), picture())


def test_p_is_the_share_of_changed_clips_and_draws_do_not_depend_on_it() -> None:
    flip = ClipFlip(p=0.3)
    changed = np.mean([not torch.equal(flip(picture(1), seeded(s)), picture(1)) for s in range(400)])
    assert 0.23 < changed < 0.37
    after = []
    for p in (0.0, 1.0):
        generator = seeded(5)
        ClipFlip(p=p)(picture(1), generator)
        after.append(torch.rand(1, generator=generator))
    assert torch.equal(after[0], after[1])


def test_composition_and_refusals() -> None:
    both = ClipCompose.build(["flip", {"name": "grey", "p": 1.0}])
    generator = seeded(3)
    expected = ClipGrey(p=1.0)(ClipFlip()(picture(), generator), generator)
    assert torch.equal(both(picture(), seeded(3)), expected)
    with pytest.raises(ConfigError, match="did you mean 'flip'"):
        ClipCompose.build(["flop"])
    with pytest.raises(ConfigError, match="min_area"):
        ClipCrop(min_area=2.0)
    with pytest.raises(ValueError, match=r"\(F, H, W, 3\) uint8"):
        ClipFlip()(picture().float(), seeded())


def test_only_this_module_and_teachers_load_torchvision() -> None:
    room = Path(video.__file__).parents[1]
    loads = re.compile(r"^\s*(from|import) torchvision", re.MULTILINE)
    users = {path.relative_to(room).as_posix() for path in room.rglob("*.py") if loads.search(path.read_text())}
    assert {user for user in users if not user.startswith(("teachers/", "cli/doctor"))} == {"transforms/video.py"}
