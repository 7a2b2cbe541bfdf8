"""Bound on the tensors that a network allocates while it is built; nothing about training memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

from imu_video.errors import ConfigError

MOST_VALUES = 2**31
"""Most values in all tensors of a network: 8 GiB in float32."""
MOST_TENSORS = 5_000
"""Most tensors that building a network allocates; a layer of a transformer allocates about twenty."""


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


class _Bounded(TorchFunctionMode):
    # A mode of functions, not of dispatch: the first call under a TorchDispatchMode imports the compiler of torch and
    # sympy, which takes longer than building and using a small encoder.
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what, self._values, self._tensors = what, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        find = _SIZES.get(getattr(func, "__name__", ""))
        size = None if find is None else find(args, named)
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
        return func(*args, **named)


_Arguments = Sequence[Any]
_Find = Callable[[_Arguments, Mapping[str, Any]], "list[int] | None"]


def _integers(values: _Arguments) -> list[int] | None:
    """``(2, 3)`` or ``((2, 3),)`` as a list; None for anything else, which torch itself refuses or sizes."""
    if len(values) and isinstance(values[0], list | tuple):
        values = values[0]
    sizes = [value for value in values if isinstance(value, int)]
    return sizes if len(sizes) == len(values) else None


def _of_all(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    return _integers(args if args else (named.get("size"),))


def _of_first(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    return _integers((args[0] if args else named.get("size"),))


def _of_rest(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    return _integers(args[1:] if len(args) > 1 else (named.get("size"),))


def _of_second(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    return _integers((args[1] if len(args) > 1 else named.get("size"),))


def _of_sequence(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    return _integers((next((one for one in args if isinstance(one, list | tuple)), named.get("size")),))


def _of_repeats(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    repeats = _integers(args[1:] if len(args) > 1 else (named.get("repeats"),))
    return None if repeats is None else [int(args[0].numel()), *repeats]


def _of_end(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    numbers = [*args, *(named[key] for key in ("end", "steps") if key in named)][:3]
    return [math.ceil(abs(end)) for end in numbers if isinstance(end, int | float) and math.isfinite(end)][-1:] or None


def _of_sides(args: _Arguments, named: Mapping[str, Any]) -> list[int] | None:
    sides = _integers([*args, *(named[key] for key in ("n", "m") if key in named)])
    return None if not sides else [sides[0], sides[-1]]


_SIZES: dict[str, _Find] = {
    **dict.fromkeys(("empty", "zeros", "ones", "rand", "randn"), _of_all),
    **dict.fromkeys(("full", "empty_strided"), _of_first),
    **dict.fromkeys(("new_empty", "new_zeros", "new_ones"), _of_rest),
    **dict.fromkeys(("new_full", "new_empty_strided"), _of_second),
    **dict.fromkeys(("arange", "linspace"), _of_end),
    "randint": _of_sequence,
    "repeat": _of_repeats,
    "eye": _of_sides,
}
"""Functions that allocate, by name, and the size of their result from their arguments."""
