"""Hashes of the source of plugins and of the modules that they import from their folder; no component is known here.

The hash of a plugin is that of the code that was loaded, not of the files as they are later.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

_OWN = ("imu_video", "pretrain", "eval")
"""Packages of this distribution: its version and commit are recorded; a clone may lie below the folder of a plugin."""
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


@dataclass(frozen=True)
class _Source:
    """What was loaded as one module."""

    file: Path
    sha256: str
    imports: frozenset[str] = frozenset()


_sources: dict[str, _Source] = {}
_files: dict[str, dict[str, _Source]] = {}
"""Of each plugin and each module beside it: the sources that it uses, its own included, by name in the folder."""


class PluginLoader(SourceFileLoader):
    """Compiles the bytes that it hashes; code from Python's cache, or a file edited meanwhile, could differ."""

    def get_code(self, fullname: str) -> CodeType:
        """Code of a module; its source is recorded."""
        source = self.get_data(self.path)
        _sources[fullname] = _source(fullname, Path(self.path), source, package=self.is_package(fullname))
        return self.source_to_code(source, self.path)


@dataclass(eq=False)
class _Follower:
    """Finds modules as the other finders do, and has those in a folder loaded by `PluginLoader`."""

    folder: Path
    names: set[str] = field(default_factory=set)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                return self._followed(name, spec)
        return None

    def _followed(self, name: str, spec: ModuleSpec) -> ModuleSpec:
        if spec.has_location and spec.origin is not None and _beside(name, Path(spec.origin).resolve(), self.folder):
            self.names.add(name)
            if type(spec.loader) is SourceFileLoader:
                spec.loader = PluginLoader(name, spec.origin)
        return spec


@contextmanager
def recorded(plugin: str, file: Path) -> Iterator[None]:
    """While a plugin is imported: record its source and that of all modules which it imports from its folder.

    Args:
        plugin: name of the plugin's module.
        file: its file, resolved.
    """
    follower = _Follower(file.parent)
    sys.meta_path.insert(0, follower)
    try:
        yield
    finally:
        if follower in sys.meta_path:
            sys.meta_path.remove(follower)
    used = _used(plugin, file.parent, follower.names)
    _files[plugin] = _named(used.values(), file.parent)
    for name in used.keys() - {plugin}:  # components may be registered there
        _files[name] = _named(_used(name, file.parent).values(), file.parent)


def code_of(module: str, *, without: Sequence[Path] = ()) -> str | None:
    """SHA-256 of the source of a plugin, or of a module beside it, and of the modules that it uses from its folder.

    Of one file it is the hash of its content; of several, that of the lines ``<sha256>  <name in the folder>``, sorted
    by name.

    Args:
        module: name of the module.
        without: folders whose files do not count.

    Returns:
        None if the module was not loaded by or as a plugin, or if no file remains.
    """
    files = {
        name: source.sha256
        for name, source in _files.get(module, {}).items()
        if not any(source.file.is_relative_to(folder) for folder in without)
    }
    return listing(files) if files else None


def listing(files: Mapping[str, str]) -> str:
    """One hash of the hashes of files by name; that of a single file is its own."""
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def _used(module: str, folder: Path, loaded: Iterable[str] = ()) -> dict[str, _Source]:
    """A module and those of a folder that it imports, directly or not, by name.

    Modules that were loaded earlier count as well, for another plugin or for a program: two plugins may share a module,
    and neither hash may depend on their order. Therefore the import statements are followed, too.
    """
    found: dict[str, _Source] = {}
    remaining = [module, *loaded]
    while remaining:
        name = remaining.pop()
        if name in found:
            continue
        source = _sources.get(name) or _read(name, folder)
        if source is not None and (name == module or _beside(name, source.file, folder)):
            found[name] = source
            remaining.extend(source.imports)
    return found


def _read(name: str, folder: Path) -> _Source | None:
    """Source of a module of a folder that Python loaded without `PluginLoader`: compiled, or before the plugin."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not _beside(name, Path(file).resolve(), folder):
        return None
    try:
        return _source(name, Path(file), Path(file).read_bytes(), package=hasattr(module, "__path__"))
    except OSError:
        return None


def _source(name: str, file: Path, content: bytes, *, package: bool) -> _Source:
    parent = name if package else name.rpartition(".")[0]
    imports = frozenset(_imports(content, parent)) if file.suffix == ".py" else frozenset()
    imports |= frozenset(_with_parents(parent))  # Python loads them first
    return _Source(file.resolve(), hashlib.sha256(content).hexdigest(), imports)


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Names of modules that import statements of a source may load; ``from a import b`` may load ``a.b``."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # Python reports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package or None)
            except ImportError:  # a relative import outside a package: Python reports it
                continue
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield from _with_parents(name)


def _with_parents(name: str) -> Iterator[str]:
    """``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``."""
    parts = name.split(".") if name else []
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _beside(name: str, file: Path, folder: Path) -> bool:
    """Whether a module belongs to the code of a plugin: in its folder, neither installed nor of this distribution."""
    if name.partition(".")[0] in _OWN or folder.name in _INSTALLED or not file.is_relative_to(folder):
        return False
    if set(file.relative_to(folder).parts) & set(_INSTALLED):
        return False
    return not any(file.is_relative_to(library) for library in _STANDARD)


def _named(sources: Iterable[_Source], folder: Path) -> dict[str, _Source]:
    return {source.file.relative_to(folder).as_posix(): source for source in sources}
