"""Bound on the tensors that a network allocates while it is built; nothing about training memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from imu_video.errors import ConfigError

MOST_VALUES = 2**31
"""Most values in all tensors of a network: 8 GiB in float32."""
MOST_TENSORS = 5_000
"""Most tensors that building a network allocates; a layer of a transformer allocates about twenty."""

# Position of the size among the arguments.
_SIZED = {
    "empty": 0, "empty_strided": 0, "zeros": 0, "ones": 0, "full": 0, "rand": 0, "randn": 0, "randint": 1,
    "new_empty": 1, "new_empty_strided": 1, "new_zeros": 1, "new_ones": 1, "new_full": 1, "repeat": 1,
}  # fmt: skip


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Refuse a network with too many values or tensors before its memory is allocated.

    A config can state any width. Without a bound, a slip of the finger ends in a process that the system kills.

    Args:
        what: for the error: ``encoder 'patch_tst'``.

    Raises:
        ConfigError: more than `MOST_VALUES` values or `MOST_TENSORS` tensors, or there is not enough memory.

    Example:
        >>> from torch import nn
        >>> with bounded("encoder"):
        ...     nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
        ...
        imu_video.errors.ConfigError: encoder has a tensor of 1000000 x 1000000 values, at most 2147483648 in all
          try: reduce its widths and counts
    """
    try:
        with _Bounded(what):
            yield
    except (MemoryError, RuntimeError, OverflowError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, RuntimeError) and not any(word in text for word in ("memory", "verflow")):
            raise
        raise ConfigError(f"{what} does not fit into memory: {text}", hint=_HINT) from error


_HINT = "reduce its widths and counts"


class _Bounded(TorchDispatchMode):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what, self._values, self._tensors = what, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        size: Sequence[int] | None = None
        if name in _SIZED and len(args) > _SIZED[name] and isinstance(args[_SIZED[name]], list | tuple):
            size = args[_SIZED[name]]
        elif name in ("arange", "linspace", "eye"):
            size = [math.ceil(abs(end)) for end in args[:3] if isinstance(end, int | float)][-1:]
        if size is not None:
            self._values += math.prod(size)
            self._tensors += 1
            if self._values > MOST_VALUES:
                shape = " x ".join(map(str, size))
                raise ConfigError(
                    f"{self._what} has a tensor of {shape} values, at most {MOST_VALUES} in all", hint=_HINT
                )
            if self._tensors > MOST_TENSORS:
                raise ConfigError(f"{self._what} has more than {MOST_TENSORS} tensors", hint=_HINT)
        return func(*args, **(kwargs or {}))
