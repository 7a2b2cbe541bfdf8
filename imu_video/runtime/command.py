"""Common parts of the three commands: a typer application with ``--version`` and log records on the screen.

Only the commands import this module, because the library does not need typer.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from imu_video.errors import ConfigError
from imu_video.runtime.console import say
from imu_video.runtime.logging import on_screen
from imu_video.runtime.parts import check_part
from imu_video.version import __version__

_DASHED_KEY = re.compile(r"--(?P<key>[A-Za-z_]\w*(?:\.\w+)+)(?:=(?P<value>.*))?")


class Group(TyperGroup):
    """The commands of an application; refuses config keys that are written like options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for word, following in pairwise([*args, ""]):
            if match := _DASHED_KEY.fullmatch(word):
                value = match["value"] if match["value"] is not None else following or "VALUE"
                raise ConfigError(f"no option {word}: config keys have no dashes", hint=f"{match['key']}={value}")
        return super().parse_args(ctx, args)


def new_app(name: str, text: str, **options: Any) -> typer.Typer:
    """A typer application without commands.

    Args:
        name: of the command, for ``--version``: ``imu-video``.
        text: shown by ``--help``.
        options: of `typer.Typer`.

    Example:
        >>> app = new_app("imu-demo", "Count windows.")
        >>> [group.name for group in app.registered_groups], app.info.help
        ([], 'Count windows.')
    """
    options.setdefault("cls", Group)
    app = typer.Typer(help=text, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, **options)

    def show_version(value: bool) -> None:
        if value:
            say(f"{name} {__version__}")
            raise typer.Exit

    def common(
        context: typer.Context,
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        context.with_resource(on_screen())

    app.callback(help=text)(common)
    return app


def parse_part(text: str) -> tuple[int, int]:
    """``i/n`` of the option ``--part`` as numbers; parts count from 1 in every command.

    Raises:
        ConfigError: not two whole numbers, or not 1 <= i <= n.

    Example:
        >>> parse_part("3/16")
        (3, 16)
    """
    number, _, of = text.partition("/")
    # Text that is not a number is refused as part 0 of 0, with the same message.
    part = (int(number), int(of)) if number.isdecimal() and of.isdecimal() else (0, 0)
    check_part(*part, given=f"--part {text!r}")
    return part
