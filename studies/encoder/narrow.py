"""An exported hybrid with fewer columns of its network, by a fixed map; trains nothing and evaluates nothing.

    python -P studies/encoder/narrow.py ENCODER OUT DATA --columns 96

The map takes the standardised features of the network to their largest principal components over training windows
(``--map principal``), or to random orthogonal directions (``--map random``). A trained bottleneck may differ from both.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.encoders.hybrid import Hybrid
from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.shards import load_index
from imu_video.shards.reading.columns import open_columns

WINDOWS = 2048


class Map(enum.StrEnum):
    """Directions that the map keeps."""

    principal = "principal"
    random = "random"


@torch.inference_mode()
def narrowed(bundle: EncoderBundle, imu: torch.Tensor, columns: int, kind: Map, seed: int = 0) -> EncoderBundle:
    """The encoder with a fixed map to ``columns`` columns, fitted on training windows (N, C, T) in SI units."""
    wide = bundle.encoder
    if not isinstance(wide, Hybrid) or wide.projection is not None:
        raise ConfigError("narrow: expected a hybrid without `columns`", hint="export one with columns: null")
    torch.manual_seed(seed)
    result = EncoderBundle(spec=bundle.spec, encoder={**bundle.encoder_config, "columns": columns})
    narrow = result.encoder
    assert isinstance(narrow, Hybrid)
    assert narrow.projection is not None  # `columns` is given
    narrow.network.load_state_dict(wide.network.state_dict())
    narrow.network_scale.adopt(wide.network_scale)
    narrow.statistics_scale.adopt(wide.statistics_scale)
    result.eval()
    # Windows of evaluation are whole, those of training were cropped and rotated: moments are those of whole windows.
    parts = [wide.eval()(bundle.normalise(part)) for part in imu.split(256)]
    features = torch.cat(parts)[:, bundle.parts["network"]]
    if kind is Map.principal:
        centred = (features - features.mean(0)).double()
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        narrow.projection.weight.copy_(vectors[:, values.argsort(descending=True)[:columns]].T.float())
    narrow.projection_scale.fit(narrow.projection(features))
    result.lineage = {**bundle.lineage, "narrowed": {"columns": columns, "map": str(kind), "seed": seed}}
    return result


def training_windows(data: Path, count: int = WINDOWS) -> torch.Tensor:
    """Windows (N, C, T) of complete devices of the split ``train``, drawn with seed 0."""
    columns = open_columns(load_index(data), "train")
    samples, devices = np.nonzero(columns.complete)
    if not len(samples):
        raise ConfigError(f"{data}: no complete window in split 'train'", hint="name another folder of the mixture")
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:count])
    rows = [
        np.asarray(columns.imu[sample : sample + 1, device])[0]
        for sample, device in zip(samples[chosen].tolist(), devices[chosen].tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def main(
    encoder: Annotated[Path, typer.Argument(help="Exported hybrid without `columns`.")],
    out: Annotated[Path, typer.Argument(help="Folder of the result.")],
    data: Annotated[Path, typer.Argument(help="Data folder whose training windows fit the map.")],
    columns: Annotated[int, typer.Option(help="Columns of the network in the result.", min=1)],
    kind: Annotated[Map, typer.Option("--map", help="Directions that are kept.")] = Map.principal,
) -> None:
    """Write the encoder with fewer columns."""
    bundle = narrowed(load_encoder(encoder), training_windows(data), columns, kind)
    console.say(f"wrote {bundle.save(out)}: {bundle.feature_dim} features")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    console.run(app)
