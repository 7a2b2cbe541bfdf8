"""The command `imu-video`, put together from its groups of commands; it parses and prints, the library does the work.

The modules of the commands import light modules only at their top, so that ``--help`` is immediate.
"""

from __future__ import annotations

from typing import Annotated

import typer

from imu_video import __version__
from imu_video.cli import components, data, teachers
from imu_video.runtime import console
from imu_video.runtime.logging import on_screen

app = typer.Typer(
    help="Build shards from recordings and teacher features from shards; then use `imu-pretrain` and `imu-eval`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        console.say(f"imu-video {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Build shards from recordings and teacher features from shards; then use `imu-pretrain` and `imu-eval`."""
    context.with_resource(on_screen())


# In the order of `imu-video --help`: the order in which a user needs them.
app.command()(data.build)
app.command()(teachers.embed)
app.command()(data.merge)
app.command()(data.split)
app.command()(data.fetch)
app.command()(data.inspect)
app.command()(data.verify)
app.command("list")(components.list_)
app.command()(components.doctor)


def main() -> None:
    """Entry point: known errors become one message and their exit code."""
    console.run(app)


if __name__ == "__main__":
    main()
