"""Commands from signatures: the arguments of a protocol become the options of `imu-eval NAME`; nothing is run here."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imu_video.cli.options import writable
from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from eval.protocol import Protocol


def _writable(out: Path) -> Path:
    return writable(out, example="results.jsonl")


Out = Annotated[Path, typer.Option("--out", help="Result file; lines are appended.", callback=_writable)]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file that registers your own components.")]


def protocol_command(name: str, protocol: type[Protocol], use: Callable[[Protocol, Path, Sequence[Path]], Any]) -> Any:
    """The command of a protocol: its constructor arguments are the options, its docstring is the help text.

    Args:
        name: registered name.
        protocol: the class.
        use: called with the protocol of the parsed arguments, the result file and the plugins; the command returns
            what it returns.

    Raises:
        ConfigError: a class that states another name, or an argument that would be a second ``--out`` or ``--plugin``.
    """
    # Checked before hours of measurement: the kind of result lines is the name that the class states.
    if getattr(protocol, "name", None) != name:
        raise ConfigError(f"protocol {name!r}: {protocol.__qualname__}.name must be {name!r}")
    hints = typing.get_type_hints(protocol.__init__, include_extras=True)
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [
        p.replace(annotation=hints.get(p.name, str))
        for p in inspect.signature(protocol).parameters.values()
        if p.kind not in catch_all
    ]
    for taken in {"out", "plugin"} & {p.name for p in parameters}:
        raise ConfigError(f"protocol {name!r}: argument {taken!r} has the name of an option of every protocol")
    parameters += [option("out", Out, Path("results.jsonl")), option("plugin", Plugins, None)]

    def invoke(*, out: Path, plugin: list[Path] | None, **arguments: Any) -> Any:
        return use(protocol(**arguments), out, plugin or [])

    return command(name, invoke, parameters, summary=inspect.cleandoc(protocol.__doc__ or name).split("\n\nArgs:")[0])


def option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A keyword-only parameter, which `command` turns into an option."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def command(name: str, function: Callable[..., Any], parameters: Sequence[inspect.Parameter], *, summary: str) -> Any:
    """A click command that calls ``function`` with the given parameters, which typer parses."""

    def invoke(**arguments: Any) -> Any:
        return function(**arguments)

    # typer reads options from the signature and from the type hints of a function.
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {p.name: p.annotation for p in parameters}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, help=summary)(invoke)
    return typer.main.get_command(single)
