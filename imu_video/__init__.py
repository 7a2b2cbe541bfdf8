"""imu_video: encoders of wearable motion sensors, trained with frozen video models.

`import imu_video` loads neither torch nor numpy: every public name is imported at first use. `dir(imu_video)` lists
them; `list_pretrained`, `load_encoder` and `create_encoder` are the usual first ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports
from imu_video.version import __version__

if TYPE_CHECKING:
    from imu_video import (
        browse,
        bundle,
        config,
        converters,
        datasets,
        encoders,
        errors,
        export,
        losses,
        metrics,
        modalities,
        models,
        objectives,
        optim,
        predict,
        readers,
        recordings,
        registry,
        runtime,
        shards,
        sides,
        simulation,
        skeletons,
        teachers,
        testing,
        transforms,
        types,
    )
    from imu_video.api import (
        create_augmentation,
        create_dataset,
        create_encoder,
        create_loss,
        create_objective,
        create_teacher,
        list_augmentations,
        list_datasets,
        list_encoders,
        list_losses,
        list_objectives,
        list_teachers,
    )
    from imu_video.bundle import EncoderBundle, InputSpec, list_pretrained, load_encoder
    from imu_video.registry import load_plugin
    from imu_video.shards import PairLoader, build, embed, load_index, open_columns, read_samples
    from imu_video.types import PairEmbeddings

__all__ = [
    "EncoderBundle",
    "InputSpec",
    "PairEmbeddings",
    "PairLoader",
    "__version__",
    "browse",
    "build",
    "bundle",
    "config",
    "converters",
    "create_augmentation",
    "create_dataset",
    "create_encoder",
    "create_loss",
    "create_objective",
    "create_teacher",
    "datasets",
    "embed",
    "encoders",
    "errors",
    "export",
    "list_augmentations",
    "list_datasets",
    "list_encoders",
    "list_losses",
    "list_objectives",
    "list_pretrained",
    "list_teachers",
    "load_encoder",
    "load_index",
    "load_plugin",
    "losses",
    "metrics",
    "modalities",
    "models",
    "objectives",
    "open_columns",
    "optim",
    "predict",
    "read_samples",
    "readers",
    "recordings",
    "registry",
    "runtime",
    "shards",
    "sides",
    "simulation",
    "skeletons",
    "teachers",
    "testing",
    "transforms",
    "types",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "api": [
            "create_augmentation",
            "create_dataset",
            "create_encoder",
            "create_loss",
            "create_objective",
            "create_teacher",
            "list_augmentations",
            "list_datasets",
            "list_encoders",
            "list_losses",
            "list_objectives",
            "list_teachers",
        ],
        "bundle": ["EncoderBundle", "InputSpec", "list_pretrained", "load_encoder"],
        "registry": ["load_plugin"],
        "shards": ["PairLoader", "build", "embed", "load_index", "open_columns", "read_samples"],
        "types": ["PairEmbeddings"],
    },
)
