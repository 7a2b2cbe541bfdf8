"""Rank arithmetic, gathers and rank-independent random numbers; `pretrain` opens and closes the process group."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from imu_video.errors import ConfigError


@dataclass(frozen=True)
class World:
    """Rank and world size of this process.

    Args:
        rank: number of this process, 0 <= rank < size.
        size: number of processes, >= 1.
        local_rank: number of this process on its machine; selects the GPU.

    Example:
        >>> World(rank=1, size=2).rows(8)
        slice(4, 8, None)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> World:
        """Read RANK, WORLD_SIZE and LOCAL_RANK, which every launcher of torch processes sets.

        Args:
            environment: variables; None: those of this process. Without WORLD_SIZE the world has one process.

        Raises:
            ConfigError: a variable is missing or not a number.

        Example:
            >>> World.from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
            World(rank=3, size=4, local_rank=1)
        """
        found = os.environ if environment is None else environment
        if "WORLD_SIZE" not in found:
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        values = [found.get(name, "") for name in names]
        if not all(value.isdigit() for value in values):
            seen = ", ".join(f"{n}={v!r}" for n, v in zip(names, values, strict=True))
            raise ConfigError(
                f"incomplete environment of a process group: {seen}",
                hint="start with torchrun or --nproc, or unset WORLD_SIZE",
            )
        rank, size, local_rank = map(int, values)
        return cls(rank=rank, size=size, local_rank=local_rank)

    def rows(self, total: int) -> slice:
        """This rank's contiguous rows of a global batch of ``total`` rows; ``total`` must divide evenly.

        Raises:
            ValueError: ``total`` does not divide over the ranks.
        """
        if total % self.size:
            raise ValueError(f"global batch of {total} rows does not divide over {self.size} ranks")
        local = total // self.size
        # Contiguous, so that the rows of all ranks in order are the global batch; `gather` relies on it.
        return slice(self.rank * local, (self.rank + 1) * local)


def world() -> World:
    """The current world; one process when no group is open."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def gather(x: Tensor) -> Tensor:
    """Concatenate equal-shaped tensors of all ranks on the first axis, without gradient: (B, ...) -> (W*B, ...)."""
    here = world()
    if here.size == 1:
        return x.detach()
    parts = [torch.empty_like(x) for _ in range(here.size)]
    # Backends transfer contiguous memory only.
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        # A copy, because all_reduce works in place and autograd may use the incoming gradient elsewhere.
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total[world().rows(len(total))]


def gather_with_gradient(x: Tensor) -> Tensor:
    """Concatenate equal-shaped tensors of all ranks so that the gradient of every rank's loss reaches its owner.

    The backward pass sums the gradients over ranks and keeps the own rows: with losses that are means over local rows
    and gradients averaged over ranks (DDP), the result is the gradient of the loss on the concatenated batch.
    Shapes: (B, ...) -> (W*B, ...).
    """
    if world().size == 1:
        return x
    out: Tensor = _GatherWithGradient.apply(x)
    return out


class GlobalDraws:
    """Random numbers for one rank's rows, taken from those of the whole batch: independent of the number of processes.

    Args:
        generator: seeded equally on all ranks (by seed and step).
        world: rank and world size; one process by default.

    Example:
        >>> whole = GlobalDraws(torch.Generator().manual_seed(0)).uniform(4)
        >>> second = GlobalDraws(torch.Generator().manual_seed(0), World(rank=1, size=2)).uniform(2)
        >>> torch.equal(whole[2:], second)
        True
    """

    def __init__(self, generator: torch.Generator, world: World | None = None) -> None:
        self.generator = generator
        self.world = world or World()

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """(rows, ...) float32, uniform in [0, 1)."""
        # Every rank draws for the whole batch: cheap beside a training step, and equal for any number of ranks.
        total = rows * self.world.size
        drawn = torch.rand(total, *shape, generator=self.generator, device=self.generator.device)
        return drawn[self.world.rows(total)]

    def normal(self, rows: int, *shape: int) -> Tensor:
        """(rows, ...) float32, standard normal."""
        total = rows * self.world.size
        drawn = torch.randn(total, *shape, generator=self.generator, device=self.generator.device)
        return drawn[self.world.rows(total)]
