"""Ranks and gathers that work with and without a process group; opening and closing one is pretrain's job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process's place among all processes.

    Example:
        >>> World(rank=1, size=2).rows(8)
        slice(4, 8, None)
    """

    rank: int = 0
    size: int = 1

    def rows(self, total: int) -> slice:
        """This rank's contiguous rows of a global batch of ``total`` rows; ``total`` must divide evenly."""
        if total % self.size:
            raise ValueError(f"global batch of {total} rows does not divide over {self.size} ranks")
        local = total // self.size
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
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
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
