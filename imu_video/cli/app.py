"""The command `imu-video`, assembled from its groups of commands; parsing and printing only.

At module level these modules import only small modules, so that ``--help`` is fast.
"""

from __future__ import annotations

from imu_video.cli import bids, check, components, convert, data, export, init, predict, teachers
from imu_video.runtime import console
from imu_video.runtime.command import new_app

app = new_app(
    "imu-video",
    "Build shards from recordings and teacher features from shards, and apply exported encoders to recordings; "
    "`imu-pretrain` trains and `imu-eval` evaluates.",
)

# `imu-video --help` lists the commands in this order, which is the order in which a user needs them.
app.command()(init.init)
app.command()(check.check)
app.command()(data.build)
app.command()(teachers.embed)
app.command()(data.merge)
app.command()(data.split)
app.command()(data.fetch)
app.command()(data.inspect)
app.command()(data.verify)
app.command()(predict.encode)
app.command()(predict.predict)
app.command()(export.export)
app.command()(bids.export_bids)
app.command()(convert.convert)
app.command("list")(components.list_)
app.command()(components.doctor)


def main() -> None:
    """Entry point: known errors become one message and their exit code."""
    console.run(app)


if __name__ == "__main__":
    main()
