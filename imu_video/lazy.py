"""Public names imported at first use, so that importing a package stays light; no component is defined here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

_MODULES: dict[str, tuple[str, ...]] = {}


def exports(
    package: str, public: Sequence[str], homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` (PEP 562) of a package that imports its public names at first use.

    Args:
        package: ``__name__`` of the package.
        public: its ``__all__``. A name without a home is a public module of the package, or defined in it.
        homes: the names that each module of the package provides; modules are relative to the package
            (``"building.build"``). A name may not be that of a module in the same package: importing that module
            would replace the name.

    Example:
        ``__getattr__, __dir__ = exports(__name__, __all__, {"alignment": ["SegmentAlignment"]})``
    """
    home = {name: f"{package}.{module}" for module, names in homes.items() for name in names}
    _MODULES[package] = tuple(f"{package}.{module}" for module in homes)

    def find(name: str) -> Any:
        if name in home:
            value = getattr(import_module(home[name]), name)
            setattr(sys.modules[package], name, value)  # later accesses find it without this function
            return value
        if name in public:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules.get(package))

    return find, lambda: sorted(public)


def load(package: str) -> None:
    """Import a package and every module that provides one of its public names, which registers its components."""
    import_module(package)
    for module in _MODULES.get(package, ()):
        import_module(module)
