"""Names for components: register by decorator, describe by signature, build from config; no component lives here.

A component is a plain class with keyword-only constructor arguments. Its signature is its config schema, ranges
included (`imu_video.arguments`), so there is no second definition to keep in step.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from imu_video import lazy, plugin_code
from imu_video.arguments import Constructor, check_construction
from imu_video.errors import ConfigError, nearest

T = TypeVar("T")
PLUGIN_GROUP = "imu_video.plugins"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[T]):
    """A validated config entry: a component and all its constructor arguments, not built yet.

    Args:
        name: registered name.
        component: the registered class.
        arguments: every constructor argument, defaults included.
        stated: arguments that the config itself gives; `filled` leaves them alone.
        later: defaults of arguments that earlier versions did not have (`arguments.LATER`).

    Example:
        >>> colours = Registry("colour")
        >>> @colours.register("red")
        ... class Red:
        ...     def __init__(self, *, depth: float = 0.5, width: int = 1) -> None: ...
        >>> entry = colours.entry({"name": "red", "depth": 1})
        >>> entry.filled(depth=0.1, width=3).config
        {'name': 'red', 'depth': 1.0, 'width': 3}
    """

    name: str
    component: type[T]
    arguments: Mapping[str, Any]
    stated: frozenset[str]
    later: Mapping[str, Any] = field(default_factory=dict)

    def filled(self, **context: Any) -> Entry[T]:
        """The same entry with context values for arguments that the component takes and the config leaves out."""
        fresh = {k: v for k, v in context.items() if k in self.arguments and k not in self.stated}
        return replace(self, arguments={**self.arguments, **fresh})

    @property
    def config(self) -> dict[str, Any]:
        """The complete entry as a config holds it: ``{"name": ..., argument: value, ...}``.

        Arguments that earlier versions did not have are left out where they have their default: configs that were
        saved before, and the run ids that follow from them, stay equal.
        """
        kept = {k: v for k, v in self.arguments.items() if k not in self.later or v != self.later[k]}
        return {"name": self.name, **kept}

    def build(self) -> T:
        """Build the component."""
        return self.component(**self.arguments)


_registries: list[Registry[Any]] = []


class Registry(Generic[T]):
    """Components of one kind by name.

    Args:
        kind: word for errors and listings (``encoder``).
        builtin: package or module of the built-in components; loaded (`imu_video.lazy.load`) at the first look-up.
        listed_by: command that lists the components, named by the error for an unknown name.

    Example:
        >>> colours = Registry("colour")
        >>> @colours.register("red")
        ... class Red:
        ...     def __init__(self, *, depth: float = 0.5) -> None:
        ...         self.depth = depth
        >>> colours.build({"name": "red", "depth": 1.0}).depth
        1.0
    """

    def __init__(self, kind: str, builtin: str | None = None, *, listed_by: str = "imu-video list") -> None:
        self.kind = kind
        self._listed_by = listed_by
        self._builtin = builtin
        self._classes: dict[str, type[T]] = {}
        self._constructors: dict[str, Constructor] = {}
        _registries.append(self)

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator; refuses a name that another class already uses.

        Raises:
            ConfigError: the name is taken, or the constructor cannot serve as a config schema.
        """

        def decorate(cls: type[T]) -> type[T]:
            held = self._classes.get(name)
            # A module that is imported again replaces its own classes; an equal class name elsewhere is another class.
            if held is not None and (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
                both = " and ".join(f"{c.__module__}.{c.__qualname__}" for c in (held, cls))
                raise ConfigError(
                    f"{self.kind} {name!r} is registered twice: {both}", hint="register your own by another name"
                )
            check_construction(self._constructor(name, cls))
            self._classes[name] = cls
            return cls

        return decorate

    @property
    def plural(self) -> str:
        """The kind as the commands that list components take it.

        Example:
            >>> losses.plural, text_encoders.plural, modalities.plural
            ('losses', 'text_encoders', 'modalities')
        """
        word = self.kind.replace(" ", "_")
        if word.endswith("y"):
            return f"{word[:-1]}ies"
        return f"{word}es" if word.endswith("s") else f"{word}s"

    def names(self) -> list[str]:
        """Sorted names of all registered components, built-ins and entry points included."""
        self._load()
        return sorted(self._classes)

    def get(self, name: str) -> type[T]:
        """The class registered under ``name``.

        Raises:
            ConfigError: unknown name; the nearest spelling is offered.
        """
        self._load()
        if name not in self._classes:
            missing = "".join(f"; {fault}" for fault in _broken_plugins.values())
            raise ConfigError(
                f"unknown {self.kind} {name!r}{nearest(name, self._classes)}{missing}",
                hint=_CORRECT_PLUGIN
                if missing
                else f"`{self._listed_by} {self.plural}` lists what is available; --plugin FILE.py adds your own",
            )
        return self._classes[name]

    def schema(self, name: str) -> type[BaseModel]:
        """Strict pydantic model of the constructor signature."""
        return self._constructor(name, self.get(name)).schema

    def ranges(self, name: str) -> dict[str, str]:
        """Allowed values of a component's arguments in words, of those whose type alone does not state them."""
        return self._constructor(name, self.get(name)).ranges

    def _constructor(self, name: str, cls: type[T]) -> Constructor:
        held = self._constructors.get(name)
        if held is None or held.component is not cls:
            held = self._constructors[name] = Constructor(cls, kind=self.kind, name=name)
        return held

    def stated(self, text: str) -> dict[str, Any]:
        """A config entry in one line: ``NAME``, or ``NAME:MODEL`` for a component with an argument ``model``.

        Example:
            >>> teachers.stated("timm:resnet18")
            {'name': 'timm', 'model': 'resnet18'}
        """
        name, colon, model = text.partition(":")
        if not colon or name not in self.names() or "model" not in self._constructor(name, self.get(name)).parameters:
            return {"name": text}
        return {"name": name, "model": model}

    def entry(self, config: Mapping[str, Any] | str, **context: Any) -> Entry[T]:
        """Validate a config entry and fill in its defaults; nothing is built.

        Args:
            config: ``{"name": ..., argument: value, ...}``, or a text as for `stated`.
            context: arguments that the caller supplies where the constructor takes them and the config leaves them out.

        Raises:
            ConfigError: unknown component or argument, a value of the wrong type or out of range.
        """
        entry = self.stated(config) if isinstance(config, str) else dict(config)
        if "name" not in entry:
            raise ConfigError(f"{self.kind} entry {entry} has no 'name'", hint=f"one of: {', '.join(self.names())}")
        name = str(entry.pop("name"))
        component = self.get(name)
        constructor = self._constructor(name, component)
        accepted = constructor.parameters
        stated = frozenset(entry)
        for key in entry:
            if key not in accepted:
                raise ConfigError(
                    f"{self.kind} {name!r} has no argument {key!r}{nearest(key, accepted)}",
                    hint=f"`{self._listed_by} {self.plural} {name}` lists its arguments",
                )
        arguments = constructor.validated({**{k: v for k, v in context.items() if k in accepted}, **entry})
        return Entry(name=name, component=component, arguments=arguments, stated=stated, later=constructor.later)

    def arguments(self, config: Mapping[str, Any] | str, **context: Any) -> tuple[str, dict[str, Any]]:
        """Name and all constructor arguments of a config entry; see `entry`."""
        entry = self.entry(config, **context)
        return entry.name, dict(entry.arguments)

    def build(self, config: Mapping[str, Any] | str, **context: Any) -> T:
        """Build a component from a config entry; see `entry`."""
        return self.entry(config, **context).build()

    def _load(self) -> None:
        if self._builtin is None:
            return
        package, self._builtin = self._builtin, None  # cleared first, because the import itself looks up components
        try:
            lazy.load(package)
            load_entry_points()
        except BaseException:
            self._builtin = package
            raise


def load_plugin(path: str | Path) -> None:
    """Import a user's Python file so that its decorators register (``--plugin my_parts.py``); runs that file's code.

    Raises:
        ConfigError: the file does not exist or does not import.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ConfigError(f"plugin {path}: no such file", hint="name a Python file that registers components")
    name = f"imu_video_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    loader = plugin_code.PluginLoader(name, str(file)) if file.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with plugin_code.recorded(name, file):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"plugin {path} failed to import: {type(error).__name__}: {error}") from error


def source_hash(component: type) -> str | None:
    """Hash of the source of a component that a user or another distribution wrote; None for those of this package.

    Of a component in a package, all Python files of that package count, because it may use any of them. Of a component
    of a plugin file, the modules count that it imports from its folder (`plugin_code.code_of`).

    Args:
        component: a registered class.
    """
    module = sys.modules.get(component.__module__)
    top = component.__module__.partition(".")[0]
    if top == __name__.partition(".")[0] or module is None:
        return None
    folders = [Path(folder).resolve() for folder in getattr(sys.modules.get(top), "__path__", ())]
    beside = plugin_code.code_of(component.__module__, without=folders)
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    if not files:
        own = getattr(module, "__file__", None)
        if beside is not None or own is None:
            return beside
        files = [Path(own)]
    hashed = hashlib.sha256()
    for file in files:
        try:
            hashed.update(file.read_bytes())
        except OSError:
            return None
    package = hashed.hexdigest()
    return package if beside is None else plugin_code.listing({f"{top}/": package, "beside it": beside})


_entry_points_loaded = False
_broken_plugins: dict[str, str] = {}
_CORRECT_PLUGIN = "correct the plugin, or uninstall the distribution that provides it"


def load_entry_points() -> None:
    """Import installed plugins (entry-point group ``imu_video.plugins``) once.

    A plugin that does not import is logged as a warning and its components are missing: other commands do not need
    them. The error for an unknown component names it.
    """
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True  # set first, because a plugin may look up components while it is imported
    for point in importlib.metadata.entry_points(group=PLUGIN_GROUP):
        before = {id(one): set(one._classes) for one in _registries}
        try:
            point.load()
        except (Exception, SystemExit) as error:
            fault = f"installed plugin {point.name!r} ({point.value}) failed to import: {type(error).__name__}: {error}"
            _broken_plugins[point.name] = fault
            _forget(point.value.partition(":")[0].partition(".")[0], before)
            if multiprocessing.parent_process() is None:  # workers would repeat it
                logger.warning("%s; its components are missing (%s)", fault, _CORRECT_PLUGIN)


def _forget(package: str, before: Mapping[int, set[str]]) -> None:
    """Remove the components that a package registered before its import failed: they are not complete."""
    for one in _registries:
        added = set(one._classes) - before.get(id(one), set())
        for name in [name for name in added if one._classes[name].__module__.partition(".")[0] == package]:
            del one._classes[name]


modalities: Registry[Any] = Registry("modality", "imu_video.modalities")
readers: Registry[Any] = Registry("reader", "imu_video.readers")
datasets: Registry[Any] = Registry("dataset", "imu_video.datasets")
teachers: Registry[Any] = Registry("teacher", "imu_video.teachers")
encoders: Registry[Any] = Registry("encoder", "imu_video.encoders")
converters: Registry[Any] = Registry("converter", "imu_video.converters")
losses: Registry[Any] = Registry("loss", "imu_video.losses")
objectives: Registry[Any] = Registry("objective", "imu_video.objectives")
text_encoders: Registry[Any] = Registry("text encoder", "imu_video.teachers")
towers: Registry[Any] = Registry("tower", "imu_video.sides")
augmentations: Registry[Any] = Registry("augmentation", "imu_video.transforms")
clip_augmentations: Registry[Any] = Registry("clip augmentation", "imu_video.transforms.video")
checks: Registry[Any] = Registry("check", "imu_video.recordings.checks")

ALL: dict[str, Registry[Any]] = {
    "modalities": modalities,
    "readers": readers,
    "datasets": datasets,
    "teachers": teachers,
    "encoders": encoders,
    "converters": converters,
    "losses": losses,
    "objectives": objectives,
    "text_encoders": text_encoders,
    "towers": towers,
    "augmentations": augmentations,
    "clip_augmentations": clip_augmentations,
    "checks": checks,
}
"""Every registry by its plural name, as ``imu-video list`` shows them."""


def trained_modalities() -> list[str]:
    """Modalities for which an encoder that is trained jointly with the student (a tower) is registered, sorted.

    Example:
        >>> "skeleton" in trained_modalities()
        True
    """
    return sorted({str(towers.get(name).modality) for name in towers.names()})
