"""Every range in the signature of a registered component: refused just outside, by configs and in Python alike."""

from __future__ import annotations

import importlib
import inspect
import math
import pickle
import pkgutil
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf, Predicate
from pydantic.fields import FieldInfo

from eval import registry as eval_registry
from imu_video import registry
from imu_video.arguments import LARGEST_FLOAT, LARGEST_INTEGER, BelowOne, Constructor, Count, Positive, allowed
from imu_video.config import Config
from imu_video.errors import ConfigError

# Protocols are left out: their arguments are the options of a command, whose ranges typer enforces.
ALL = {**registry.ALL, **{kind: known for kind, known in eval_registry.ALL.items() if kind != "protocols"}}
# Arguments without a default, so that only the value under test can be refused.
REQUIRED: dict[str, Any] = {
    "model": "org/name",
    "joints": ["pelvis", "neck"],
    "root": "recordings",
    "rate_hz": 50.0,
    "of": {"name": "synthetic"},
}


def components() -> Iterator[tuple[str, str]]:
    for kind, known in ALL.items():
        yield from ((kind, name) for name in known.names() if not name.startswith("test_"))


def constructor(kind: str, name: str) -> Constructor:
    return Constructor(ALL[kind].get(name), kind=ALL[kind].kind, name=name)


def outside(hint: Any) -> Iterator[Any]:
    """Values just outside the range of an annotation."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        base, *entries = parts
        limits = [limit for e in entries for limit in (e.metadata if isinstance(e, FieldInfo) else [e])]
        for limit in limits:
            yield from beyond(limit, whole=base is int)
        yield from outside(base)
    elif origin is typing.Literal:
        yield "no such choice"
    elif origin in (typing.Union, types.UnionType):
        if allowed(hint):  # otherwise one of the types takes any value
            for part in parts:
                yield from outside(part)
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from ([value] for value in outside(parts[0]))


def beyond(limit: Any, *, whole: bool) -> Iterator[Any]:
    match limit:
        case Ge(ge=value):
            yield value - 1 if whole else math.nextafter(value, -math.inf)
        case Gt(gt=value) | Lt(lt=value):
            yield value
        case Le(le=value):
            yield value + 1 if whole else math.nextafter(value, math.inf)
        case MultipleOf(multiple_of=value):
            yield 8 * value + 1
        case Predicate():
            yield 8
        case MinLen(min_length=count):
            yield [1.0] * (count - 1)
        case MaxLen(max_length=count):
            yield [1.0] * (count + 1)
        case _ if getattr(limit, "allow_inf_nan", True) is False:
            yield from (math.inf, math.nan)


CASES = [
    pytest.param(kind, name, argument, value, id=f"{kind}-{name}-{argument}-{value}")
    for kind, name in components()
    for argument, hint in constructor(kind, name).hints.items()
    for value in outside(hint)
]


def test_the_cases_cover_the_components() -> None:
    """A walk that found nothing would pass every test below."""
    assert len(CASES) > 330
    assert {
        "encoders",
        "losses",
        "objectives",
        "teachers",
        "towers",
        "augmentations",
        "clip_augmentations",
        "checks",
        "probes",
        "algorithms",
    } <= {str(case.values[0]) for case in CASES}


@pytest.mark.parametrize(("kind", "name", "argument", "value"), CASES)
def test_values_outside_a_range_are_refused_both_ways(kind: str, name: str, argument: str, value: Any) -> None:
    known = ALL[kind]
    needed = {k: v for k, v in REQUIRED.items() if k in constructor(kind, name).required}
    arguments = {**needed, argument: value}
    with pytest.raises(ConfigError) as from_config:
        known.entry({"name": name, **arguments})
    with pytest.raises(ConfigError) as direct:
        known.get(name)(**arguments)
    assert str(from_config.value) == str(direct.value)
    message = str(direct.value)
    assert message.startswith(f"{known.kind} {name!r}, argument '{argument}"), "component and argument"
    assert repr(value).strip("[]") in message, "the value seen"
    words = known.ranges(name)[argument]
    assert words in message, "the allowed range"


def numbers(hint: Any) -> set[type]:
    """Types of numbers that an annotation admits, inside lists too."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return numbers(parts[0])
    return {hint} & {int, float} if isinstance(hint, type) else {kind for part in parts for kind in numbers(part)}


NUMBERS = [
    pytest.param(kind, name, argument, hint, id=f"{kind}-{name}-{argument}")
    for kind, name in components()
    for argument, hint in constructor(kind, name).hints.items()
    if numbers(hint)
]


@pytest.mark.parametrize(("kind", "name", "argument", "hint"), NUMBERS)
def test_no_argument_takes_infinite_or_huge_numbers(kind: str, name: str, argument: str, hint: Any) -> None:
    """Also those whose annotation states no range: a plugin need not think of it."""
    needed = {k: v for k, v in REQUIRED.items() if k in constructor(kind, name).required}
    for value in (math.inf, -math.inf, math.nan, 1e300, -1e300, 2**63):
        for form in (value, [value], [value] * 3):
            with pytest.raises(ConfigError) as refused:
                ALL[kind].entry({"name": name, **needed, argument: form})
            assert argument in refused.value.message
            assert len(refused.value.message) < 1000


def test_the_general_limits_hold_for_plugins() -> None:
    class Part:
        def __init__(self, *, rate: float = 1.0, count: int = 1, pair: tuple[float, ...] | None = None) -> None: ...

    read = Constructor(Part, kind="part", name="own")
    kept = {"rate": -LARGEST_FLOAT, "count": LARGEST_INTEGER, "pair": (1e15, -1e15)}
    assert read.validated(kept) == read.converted(kept) == kept
    for wrong in ({"rate": 1.1e15}, {"count": 2**31}, {"pair": (1.0, 2e15)}, {"rate": math.inf}, {"pair": [math.nan]}):
        for check in (read.validated, read.converted):
            with pytest.raises(ConfigError, match=f"part 'own', argument '{next(iter(wrong))}"):
                check(wrong)


@pytest.mark.parametrize(("kind", "name"), list(components()))
def test_defaults_lie_inside_their_ranges(kind: str, name: str) -> None:
    read = constructor(kind, name)
    defaults = {k: p.default for k, p in read.parameters.items() if p.default is not inspect.Parameter.empty}
    needed = {k: v for k, v in REQUIRED.items() if k in read.parameters and k not in defaults}
    assert read.validated({**needed, **defaults}) == read.validated(needed)


# What a docstring may say of a number: `at least 2`, `above 0`, `in [0, 1)`.
_N = r"-?\d(?:[\d.e-]*\d)?"
STATED = re.compile(rf"\b(?:at least {_N}|above {_N}|in [\[(]{_N}, {_N}[\])])")


def described(cls: type) -> dict[str, str]:
    """Text of each argument in the Args section of a docstring."""
    document = inspect.cleandoc(cls.__doc__ or "")
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", document + "\n", flags=re.M)
    texts: dict[str, str] = {}
    for names, text in re.findall(
        r"^    (\w[\w, ]*): ((?:.*\n)(?:        .*\n)*)", section[1] if section else "", re.M
    ):
        texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return texts


@pytest.mark.parametrize(("kind", "name"), [c for c in components() if c[0] not in ("datasets", "checks")])
def test_docstrings_state_the_same_ranges(kind: str, name: str) -> None:
    read = constructor(kind, name)
    texts = described(read.component)
    for argument, hint in read.hints.items():
        if "one of" in allowed(hint):
            continue
        words = re.sub(r"^null or |^\d (or more )?values, each |^each ", "", allowed(hint))
        numeric = STATED.findall(words)
        text = texts.get(argument, "")
        if text.startswith("see `"):  # the class named there documents it
            continue
        if words and numeric != ["at least 1"]:  # that a count is at least 1 goes without saying
            assert words in text, f"{name}, {argument}: enforced {words!r}, documented {text!r}"
        for statement in STATED.findall(text.split("sensible")[0]):
            assert statement in numeric, (
                f"{name}: the docstring of {argument} says {statement!r}, enforced is {words!r}"
            )


def configs() -> list[type[Config]]:
    """Every class of config and record, in the order of their names."""
    for package in map(importlib.import_module, ("imu_video", "pretrain", "eval")):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, waiting = set[type[Config]](), [Config]
    while waiting:
        children = [cls for cls in waiting.pop().__subclasses__() if cls not in found]
        found.update(children)
        waiting += children
    ours = (cls for cls in found if cls.__module__.partition(".")[0] in ("imu_video", "pretrain", "eval"))
    return sorted(ours, key=lambda cls: (cls.__module__, cls.__qualname__))


def test_docstrings_of_configs_state_enforced_ranges() -> None:
    """`at least`, `above` and intervals are what the schema enforces; `1 .. 8` could be read as either."""
    compared, wrong = 0, []
    for cls in configs():
        texts = described(cls)
        for key, field in cls.model_fields.items():
            text = re.split("sensible|typically", texts.get(key, ""))[0]
            hint = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            range_of = allowed(hint)
            # An upper end that only keeps numbers sensible need not be documented.
            lower = re.sub(r"in \[([^,]+), .*", r"at least \1", re.sub(r"in \(([^,]+), .*", r"above \1", range_of))
            enforced = STATED.findall(f"{range_of}; {lower}")
            stated = STATED.findall(text)
            if field.annotation is str:  # a number in its text is about something else
                continue
            compared += len(stated)
            if not set(stated) <= set(enforced) or re.search(r"\d \.\. \d", text):
                wrong.append(f"{cls.__qualname__}.{key}: documented {text!r}, enforced {allowed(hint)!r}")
    assert wrong == []
    assert compared > 5, "the pattern finds the statements"


def test_direct_construction_keeps_what_python_shows_of_the_class() -> None:
    loss = registry.losses.get("info_nce")
    signature = inspect.signature(loss)
    assert list(signature.parameters) == ["temperature", "learned", "between"]
    assert signature.parameters["temperature"].default == 0.07
    assert typing.get_type_hints(loss.__init__)["temperature"] is float
    assert loss.__init__.__qualname__ == "InfoNCE.__init__"
    for wrong, problem in (((0.1,), "positional"), ((), "unexpected keyword")):
        with pytest.raises(TypeError, match=problem):
            loss(*wrong, **({} if wrong else {"temprature": 0.1}))
    with pytest.raises(TypeError, match="required keyword-only argument"):
        registry.teachers.get("hf")()


def test_components_pass_through_pickle_as_for_spawned_workers() -> None:
    built = registry.augmentations.get("jitter")(acc_sigma=0.5)
    assert pickle.loads(pickle.dumps(built)).sigmas == built.sigmas
    assert pickle.loads(pickle.dumps(type(built))) is type(built)


def test_a_subclass_of_a_users_own_is_checked_by_its_own_signature() -> None:
    local: registry.Registry[Any] = registry.Registry("shape")

    @local.register("disc")
    class Disc:
        def __init__(self, *, radius: Annotated[float, Ge(1)] = 1.0) -> None:
            self.radius = radius

    @local.register("half")
    class Half(Disc):
        def __init__(self, *, radius: Annotated[float, Ge(2)] = 2.0) -> None:
            super().__init__(radius=radius / 2)

    class Plain(Disc):
        def __init__(self) -> None:
            super().__init__(radius=0.5)

    assert Half(radius=2).radius == 1
    with pytest.raises(ConfigError, match="shape 'half', argument 'radius': must be at least 2"):
        Half(radius=1.5)
    with pytest.raises(ConfigError, match="shape 'disc', argument 'radius': must be at least 1"):
        Plain()


class Blend:
    """Constructor arguments of every kind, and a catch-all."""

    def __init__(
        self, *, share: BelowOne = 0.5, steps: Count = 1, scales: tuple[Positive, ...] = (1.0,), **rest: Any
    ) -> None:
        self.share, self.steps, self.scales, self.rest = share, steps, scales, rest


@pytest.fixture
def blend() -> type[Blend]:
    class Fresh(Blend):
        pass

    Fresh.__init__ = Blend.__init__  # type: ignore[method-assign]
    return registry.Registry[Any]("filter").register("blend")(Fresh)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({"share": "0.25"}, (0.25, 1, (1.0,))),
        ({"share": np.float32(0.25), "steps": np.int64(3)}, (0.25, 3, (1.0,))),
        ({"share": torch.tensor(0.25), "steps": torch.tensor(3)}, (0.25, 3, (1.0,))),
        ({"scales": (float(scale) for scale in "12")}, (0.5, 1, (1.0, 2.0))),
        ({"scales": np.array([1.0, 2.0])}, (0.5, 1, (1.0, 2.0))),
    ],
)
def test_direct_construction_receives_what_a_config_entry_gives(
    blend: type[Blend], given: dict[str, Any], received: tuple[float, int, tuple[float, ...]]
) -> None:
    built = blend(**given)
    assert (built.share, built.steps, built.scales) == received
    assert [type(built.share), type(built.steps), type(built.scales)] == [float, int, tuple]


def test_a_catch_all_does_not_hide_a_value_out_of_range(blend: type[Blend]) -> None:
    assert blend(extra=2).rest == {"extra": 2}
    with pytest.raises(ConfigError, match=r"filter 'blend', argument 'share': must be in \[0, 1\)"):
        blend(extra=2, share=1)


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    class Unread:
        def __init__(self, *, amount: Decimal = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    unread = registry.Registry[Any]("filter").register("unread")(Unread)
    with pytest.raises(ConfigError, match=r"filter 'unread': an annotation of .*Unread cannot be read: .*'Decimal'"):
        unread()
