"""Checkpoints of published networks with random weights, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.converters.naive import State

GRAVITY = 9.80665


def tensors(state: State) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def write(path: Path, state: State, **around: Any) -> Path:
    """A file of ``torch.save``: the weights alone, or under ``state_dict`` beside what a trainer stores."""
    torch.save({"state_dict": tensors(state), **around} if around else tensors(state), path)
    return path


def recording(channels: int, samples: int, *, rows: int = 3, seed: int = 0) -> np.ndarray:
    """Windows in m/s^2 and rad/s: gravity, slow and fast motion."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 50
    rhythm = np.sin(2 * np.pi * (1 + generator.random((rows, channels, 1))) * time + generator.random((rows, 1, 1)))
    x = rhythm + 0.3 * generator.normal(size=(rows, channels, samples))
    x[:, :3] *= 3
    x[:, 2] += GRAVITY
    return x.astype(np.float32)
