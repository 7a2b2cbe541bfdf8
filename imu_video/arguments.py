"""Constructor arguments of components: their ranges as annotations, enforced wherever a component is built.

``temperature: Temperature = 0.07`` in a signature states the range once. Configs, listings and direct construction in
Python all read it from there, so a component checks by hand only what concerns several arguments at a time. A number
whose annotation states no limits has general ones: finite and within `LARGEST_FLOAT`, or within `LARGEST_INTEGER`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from reprlib import Repr
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf, Predicate
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from imu_video.errors import ConfigError


def odd(number: int) -> bool:
    """Whether a number is odd, for `OddCount`."""
    return number % 2 == 1


Count = Annotated[int, Field(ge=1)]
"""A number of things of which one is needed: layers, channels, heads."""
OddCount = Annotated[int, Field(ge=1), Predicate(odd)]
"""Width of a convolution that is centred on a sample."""
Whole = Annotated[int, Field(ge=0)]
"""A number of things of which none may be wanted."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A share of which something must remain: dropout, pruning, a prior."""
InsideUnit = Annotated[float, Field(gt=0, lt=1)]
Temperature = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]
"""Temperature of a contrastive softmax. Below 0.01 the logit scale would pass 100, where single pairs dominate."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class _Later:
    """Type of `LATER`."""

    def __repr__(self) -> str:
        return "LATER"


LATER = _Later()
"""Marks an argument that was added to a component when runs of it existed: ``scaling: Annotated[bool, LATER] = False``.

The default is what the component did before. A resolved config leaves the argument out where it has its default, so
that run ids, run folders and the identities of earlier runs stay as they were (`registry.Entry.config`).
"""

LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = 1e15
"""Largest absolute value of a number whose annotation states no limit on that side."""

# What pydantic calls a value of the right type that is out of range.
_OUT_OF_RANGE = {
    "finite_number",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "literal_error",
    "multiple_of",
    "predicate_failed",
    "too_long",
    "too_short",
}


class Constructor:
    """The constructor of a component, read as a schema.

    Args:
        component: a class whose constructor takes keyword-only arguments.
        kind, name: for errors, for example ``loss`` and ``info_nce``.

    Raises:
        TypeError: an argument that is not keyword-only.

    Example:
        >>> class Blur:
        ...     def __init__(self, *, sigma: Positive = 1.0) -> None: ...
        >>> Constructor(Blur, kind="filter", name="blur").ranges
        {'sigma': 'above 0'}
    """

    def __init__(self, component: type, *, kind: str, name: str) -> None:
        self.component, self.kind, self.name = component, kind, name
        catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        # A class without a constructor of its own inherits (*args, **kwargs), which are no arguments of the component.
        signature = inspect.signature(component)
        self.parameters = {k: p for k, p in signature.parameters.items() if p.kind not in catch_all}
        for parameter in self.parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                raise TypeError(
                    f"{component.__qualname__}: constructor argument {parameter.name!r} must be keyword-only"
                )

    @property
    def required(self) -> list[str]:
        """Names of the arguments without a default."""
        return [key for key, one in self.parameters.items() if one.default is inspect.Parameter.empty]

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Annotation of every argument, with its range.

        Raises:
            ConfigError: an annotation that cannot be evaluated.
        """
        try:
            found = typing.get_type_hints(self.component.__init__, include_extras=True)  # type: ignore[misc]
        except NameError as error:
            raise ConfigError(
                f"{self.kind} {self.name!r}: an annotation of {self.component.__qualname__} cannot be read: {error}",
                hint="import the name at the top of the module, not only under `if TYPE_CHECKING:`",
            ) from error
        return {key: found.get(key, Any) for key in self.parameters}

    @functools.cached_property
    def schema(self) -> type[BaseModel]:
        """Pydantic model of the arguments; built at the first use, because most components are never built."""
        fields: dict[str, Any] = {
            key: (
                hint,
                ... if self.parameters[key].default is inspect.Parameter.empty else self.parameters[key].default,
            )
            for key, hint in self.hints.items()
        }
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False)
        return create_model(f"{self.kind}:{self.name}", __config__=config, **fields)

    @functools.cached_property
    def later(self) -> dict[str, Any]:
        """Arguments that are marked `LATER`, with their defaults."""
        return {
            key: self.parameters[key].default
            for key, hint in self.hints.items()
            if typing.get_origin(hint) is Annotated and LATER in typing.get_args(hint)[1:]
        }

    @property
    def ranges(self) -> dict[str, str]:
        """Allowed values in words, of those arguments whose type alone does not state them."""
        return {key: words for key, hint in self.hints.items() if (words := allowed(hint))}

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments, converted to their types and with defaults filled in.

        Raises:
            ConfigError: a missing argument, a wrong type or a value out of range.
        """
        try:
            model = self.schema.model_validate(dict(arguments))
        except ValidationError as error:
            raise self._refusal(error) from error
        found = {key: getattr(model, key) for key in self.parameters}
        self._refuse_huge(found)
        return found

    def converted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of a direct construction, converted and refused as `validated` does it.

        Missing and unknown keywords are left to Python, which raises a TypeError for them as for any call, or hands
        them to the ``**kwargs`` of a constructor that has it.

        Raises:
            ConfigError: a wrong type or a value out of range.
        """
        own = {key: value for key, value in arguments.items() if key in self.parameters}
        try:
            model = self.schema.model_validate(own)
        except ValidationError as error:
            if any(e["type"] != "missing" for e in error.errors()):
                raise self._refusal(error) from error
            return dict(arguments)
        found = {key: getattr(model, key) for key in own}
        self._refuse_huge(found)
        return {**arguments, **found}

    def _refuse_huge(self, arguments: Mapping[str, Any]) -> None:
        for key, value in arguments.items():
            wrong = _beyond(value, self.hints[key])
            if wrong is not None:
                most = LARGEST_FLOAT if isinstance(wrong, float) else LARGEST_INTEGER
                words = f"must be in [-{most:.12g}, {most:.12g}] (got {_repr.repr(wrong)})"
                raise ConfigError(f"{self.kind} {self.name!r}, argument {key!r}: {words}")

    def _refusal(self, error: ValidationError) -> ConfigError:
        # The first fault, but a wrong value before a missing one: a direct construction reports only the former here.
        first = min(error.errors(), key=lambda e: e["type"] == "missing")
        where = ".".join(str(part) for part in first["loc"])
        words = allowed(self.hints.get(str(first["loc"][0]), Any))
        if first["type"] == "finite_number" and words != "finite":
            words = f"finite and {words}"
        problem = f"must be {words}" if first["type"] in _OUT_OF_RANGE and words else first["msg"]
        got = _repr.repr(first.get("input"))
        if first["type"] == "missing":
            return ConfigError(
                f"{self.kind} {self.name!r}: argument {where!r} is required",
                hint=f"give {where}; required arguments: {', '.join(self.required)}",
            )
        return ConfigError(f"{self.kind} {self.name!r}, argument {where!r}: {problem} (got {got})")


_repr = Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxtuple, _repr.maxdict = 6, 20, 20, 20
_repr.maxstring, _repr.maxother, _repr.maxlong = 200, 200, 60


def _beyond(value: Any, hint: Any) -> int | float | None:
    """The number inside a value that is too large for an annotation without limits; None if there is none."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [limit for entry in parts[1:] for limit in _limits(entry)]
        if isinstance(value, int | float) and any(isinstance(limit, Lt | Le) for limit in limits):
            return None
        return _beyond(value, parts[0])
    if origin in (typing.Union, types.UnionType):
        found = [_beyond(value, part) for part in parts if part is not type(None)]
        return None if None in found else next(iter(found), None)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if abs(value) > (LARGEST_FLOAT if isinstance(value, float) else LARGEST_INTEGER) else None
    if isinstance(value, list | tuple):
        inner = parts[0] if parts else Any
        return next((wrong for one in value if (wrong := _beyond(one, inner)) is not None), None)
    return None


def check_construction(constructor: Constructor) -> None:
    """Make direct construction, ``InfoNCE(temperature=0)``, refuse what a config entry refuses.

    The class keeps its signature, type hints and documentation. It receives the values that a config entry would give
    it: the text ``"0.5"`` arrives as the number 0.5, and a generator, which validation exhausts, as a tuple.
    """
    if not constructor.parameters:
        return
    component: Any = constructor.component
    construct: Callable[..., None] = component.__init__

    @functools.wraps(construct)
    def checked(self: Any, *positional: Any, **arguments: Any) -> None:
        construct(self, *positional, **constructor.converted(arguments))

    component.__init__ = checked


def allowed(annotation: Any) -> str:
    """Range of the values that an annotation admits, in words; empty where the type alone states it.

    Example:
        >>> allowed(BelowOne), allowed(Count | None), allowed(tuple[Positive, ...]), allowed(float)
        ('in [0, 1)', 'null or at least 1', 'each above 0', '')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = [limit for entry in arguments[1:] for limit in _limits(entry)]
        return ", ".join(filter(None, (_in_words(limits), allowed(arguments[0]))))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        words = [allowed(part) for part in arguments if part is not type(None)]
        each = " or ".join(words) if all(words) else ""
        return f"null or {each}" if each and type(None) in arguments else each
    if isinstance(origin, type) and issubclass(origin, Sequence):
        each = allowed(arguments[0])
        return f"each {each}" if each else ""
    return ""


def _limits(entry: Any) -> Sequence[Any]:
    if entry is LATER:
        return []
    return entry.metadata if isinstance(entry, FieldInfo) else [entry]


def _in_words(limits: Sequence[Any]) -> str:
    low, high, fewest, most = "", "", None, None
    words: list[str] = []
    for limit in limits:
        match limit:
            case Ge(ge=value):
                low = f"[{value:.12g}"
            case Gt(gt=value):
                low = f"({value:.12g}"
            case Le(le=value):
                high = f"{value:.12g}]"
            case Lt(lt=value):
                high = f"{value:.12g})"
            case MultipleOf(multiple_of=value):
                positive = low == f"[{value:.12g}"
                low = "" if positive else low
                words.append(f"a {'positive ' if positive else ''}multiple of {value:.12g}")
            case Predicate(func=holds):
                words.append(holds.__name__)
            case MinLen(min_length=count):
                fewest = count
            case MaxLen(max_length=count):
                most = count
            case _ if getattr(limit, "allow_inf_nan", True) is False and len(limits) == 1:
                words.append("finite")
    if low and high:
        words.insert(0, f"in {low}, {high}")
    elif low:
        words.insert(0, f"{'at least' if low[0] == '[' else 'above'} {low[1:]}")
    elif high:
        words.insert(0, f"{'at most' if high[-1] == ']' else 'below'} {high[:-1]}")
    if fewest is not None:
        words.append(f"{fewest} values" if fewest == most else f"{fewest} or more values")
    return " and ".join(words)
