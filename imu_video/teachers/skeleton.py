"""A skeleton encoder that is trained on the training split only, without labels by default; it reads no video."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, NonNegative, Positive
from imu_video.errors import ConfigError, DataError
from imu_video.optim.groups import set_learning_rate
from imu_video.optim.schedule import ramped_cosine
from imu_video.registry import teachers
from imu_video.runtime.distributed import GlobalDraws
from imu_video.runtime.logging import log_progress
from imu_video.skeletons.augmentation import SkeletonAugmentation
from imu_video.skeletons.geometry import BodyFrame, streams
from imu_video.skeletons.network import SkeletonEncoder
from imu_video.teachers.base import FrozenTeacher

logger = logging.getLogger(__name__)


@teachers.register("skeleton")
class SkeletonTeacher(FrozenTeacher):
    """Point and motion streams of 1-D convolutions over time, fitted by contrasting augmented pairs of skeletons.

    The two streams follow the co-occurrence network of Li et al. 2018 (all joints meet in one layer); the objective is
    NT-Xent (Chen et al. 2020, SimCLR, eq. 1) on two augmentations of each skeleton that differ in viewpoint, body
    shape, tempo and lost joints. No label is used unless ``supervised`` is set: augmentations of the same class are
    then positives as well. Skeletons are trimmed to their moving part, resampled to ``frames``, rotated to an upright
    and frontal pose, centred on the hips and divided by the length of the torso.

    Args:
        frames: time steps after resampling, at least 16.
        width: channels of the narrowest layer, at least 4; features are 4 * width * segments.
        segments: parts of equal length over which features are averaged, which keeps the temporal order; 1 to
            frames / 4.
        epochs: passes over the training split; sensible 40 to 100.
        batch: skeletons per update, at least 2.
        lr: peak learning rate of AdamW, above 0; sensible 1e-4 to 5e-3.
        temperature: of the softmax, above 0; sensible 0.05 to 0.5.
        body: standard deviation of the constant shift of each joint by augmentation, in torso lengths, at least 0;
            sensible up to 0.2.
        rotation: largest rotation about the vertical in augmentation, in degrees, in [0, 180].
        align: rotate every skeleton to the front; needs hips or shoulders named ``left_*`` and ``right_*``.
        seed: seed of initial weights, order and augmentation.
        supervised: use the labels of the training split; skeletons without a label are skipped.
        joints: names of the J joints in order; `imu-video embed` takes them from the data.
        centre: joint at the lower end of the torso; the first known name of CENTRES when None.
        top: joint at the upper end of the torso; the first known name of TOPS when None.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: an argument out of range, or joints without a known torso.

    Example:
        >>> names = ["pelvis", "neck", "left_hip", "right_hip"]
        >>> teacher = SkeletonTeacher(joints=names, width=4, epochs=1)
        >>> walks = torch.randn(8, 30, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> teacher.fit(walks)
        >>> teacher.encode(walks).shape
        torch.Size([8, 64])
    """

    modality = "skeleton"
    needs_fit = True
    fitted: Tensor
    up: Tensor

    def __init__(
        self,
        *,
        frames: Annotated[int, Field(ge=16)] = 48,
        width: Annotated[int, Field(ge=4)] = 64,
        segments: Count = 4,
        epochs: Count = 60,
        batch: Annotated[int, Field(ge=2)] = 128,
        lr: Positive = 2e-3,
        temperature: Positive = 0.2,
        body: NonNegative = 0.1,
        rotation: Annotated[float, Field(ge=0, le=180)] = 30.0,
        align: bool = True,
        seed: int = 0,
        supervised: bool = False,
        joints: Sequence[str] | None = None,
        centre: str | None = None,
        top: str | None = None,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        if segments > frames // 4:
            raise ConfigError(f"teacher 'skeleton': segments must be at most frames / 4, got {segments=}, {frames=}")
        super().__init__(width=4 * width * segments, projection=projection)
        self.arguments: dict[str, Any] = {
            "frames": frames, "width": width, "segments": segments, "epochs": epochs, "batch": batch, "lr": lr,
            "temperature": temperature, "body": body, "rotation": rotation, "align": align, "seed": seed,
            "joints": None if joints is None else list(joints), "centre": centre, "top": top,
            # Absent unless set, so that the fingerprint of an unsupervised teacher does not depend on this argument.
            **({"supervised": True} if supervised else {}),
        }  # fmt: skip
        self.needs_labels = supervised
        self.augmentation = SkeletonAugmentation(body=body, rotation=rotation)
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("up", torch.tensor(1))
        self.encoder: SkeletonEncoder | None = None
        if joints is not None:
            self.body = BodyFrame(
                joints=joints, frames=frames, align=align, centre=centre, top=top, owner="teacher 'skeleton'"
            )
            self.encoder = self._new_encoder(len(joints))
        self.freeze()

    def _new_encoder(self, joints: int) -> SkeletonEncoder:
        # The initial weights depend on the seed only, and the caller's random state is left unchanged.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.arguments["seed"])
            return SkeletonEncoder(joints=joints, width=self.arguments["width"], segments=self.arguments["segments"])

    def recipe(self) -> dict[str, Any]:
        return {
            "name": "skeleton",
            **self.arguments,
            "transform": "moving part, upright, in front, centred, torso length 1",
            "sampler": {"frames": self.arguments["frames"], "rule": "linear interpolation"},
            "licence": "trained on the data's own training split: the data's licence applies",
        }

    def features(self, inputs: Tensor) -> Tensor:
        if not bool(self.fitted):
            raise ConfigError(
                "teacher 'skeleton' was not fitted",
                hint="`imu-video embed` fits it on the split `train`; or call fit()",
            )
        out: Tensor = self._checked(inputs)(streams(self.normalise(inputs), self.body.centre))
        return out

    def _checked(self, inputs: Tensor) -> SkeletonEncoder:
        names = self.arguments["joints"]
        if self.encoder is None or names is None:
            raise ConfigError(
                "teacher 'skeleton' needs the names of the joints",
                hint="`imu-video embed` takes them from the data; in Python pass joints=[...]",
            )
        if inputs.shape[2] != len(names):
            raise ConfigError(
                f"teacher 'skeleton': skeletons have {inputs.shape[2]} joints, expected {len(names)}: {names}"
            )
        return self.encoder

    def normalise(self, inputs: Tensor) -> Tensor:
        """Remove position, size, heading and pauses at the ends; NaN for skeletons with fewer than two complete frames.

        Shapes: (B, F, J, 3) metres -> (B, frames, J, 3) torso lengths, vertical second.
        """
        return self.body(inputs.float(), int(self.up))

    @torch.enable_grad()
    def fit(self, inputs: Tensor, *, labels: Sequence[str | None] | None = None) -> None:
        """Train from scratch; the result depends on skeletons, constructor arguments and, if supervised, labels.

        Args:
            inputs: (N, F, J, 3) joints of the training split, in metres.
            labels: N class names, None for an unlabelled skeleton; required if supervised, ignored otherwise.

        Raises:
            DataError: fewer than two skeletons with two complete frames (and a label, if supervised).
            ConfigError: the names of the joints are not given, or their number differs from the inputs.
        """
        self._checked(inputs)
        device = self.up.device
        up = self.body.vertical(inputs)
        if up is not None:
            self.up.fill_(up)
        poses = self.normalise(inputs)
        usable = poses.isfinite().flatten(1).all(1)
        classes = None
        if self.needs_labels:
            named = [None] * len(inputs) if labels is None else list(labels)
            names = sorted({name for name in named if name is not None})
            classes = torch.tensor([-1 if name is None else names.index(name) for name in named])
            usable &= classes >= 0
            classes = classes[usable].to(device)
        poses = poses[usable].to(device)
        if len(poses) < 2:
            raise DataError(
                f"teacher 'skeleton' not fitted: {len(poses)} of {len(inputs)} skeletons have two complete frames"
                + (" and a label" if self.needs_labels else ""),
                hint="fitting contrasts skeletons with each other and needs at least two",
            )
        encoder = self._new_encoder(inputs.shape[2]).to(device)
        self._contrast(encoder, poses, classes)
        self.encoder = encoder
        self.fitted.fill_(True)
        self.freeze()

    def _contrast(self, encoder: SkeletonEncoder, poses: Tensor, classes: Tensor | None) -> None:
        """Minimise NT-Xent between two augmentations of each skeleton, or of each class."""
        arg = self.arguments
        generator = torch.Generator().manual_seed(arg["seed"])
        draws = GlobalDraws(generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arg["seed"] + 1)
            head = nn.Sequential(nn.Linear(self.projection.width, 256), nn.ReLU(), nn.Linear(256, 128))
        head.to(poses.device)
        batch = min(arg["batch"], len(poses))
        each = len(poses) // batch
        total = each * arg["epochs"]
        optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=arg["lr"], weight_decay=1e-4)
        encoder.train()
        for step in range(total):
            if step % each == 0:
                order = torch.randperm(len(poses), generator=generator)
            rows = order[step % each * batch :][:batch].to(poses.device)
            both = torch.cat([self._augmented(poses[rows], draws) for _ in range(2)])
            set_learning_rate(optimiser, ramped_cosine(step, steps=total, lr=arg["lr"]))
            loss = nt_xent(head(encoder(both)), arg["temperature"], None if classes is None else classes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            log_progress(logger, step + 1, total, "updates", "fit")

    def _augmented(self, poses: Tensor, draws: GlobalDraws) -> Tensor:
        x = streams(self.augmentation(poses, draws), self.body.centre)
        return x * self.augmentation.kept(len(x), x.shape[3], draws).to(x.device)


def nt_xent(embeddings: Tensor, temperature: float, classes: Tensor | None = None) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) of 2B embeddings; rows i and i + B are an augmented pair.

    With classes, every row of the same class is a positive, as in supervised contrastive learning (Khosla et al. 2020,
    arXiv 2004.11362, eq. 2):

        loss = mean_i mean_{p in P(i)} -log( exp(s_ip / t) / sum_{k != i} exp(s_ik / t) )

    Args:
        embeddings: (2B, D), any norm.
        temperature: t, above 0.
        classes: (B,) class numbers; None: P(i) is only the other row of the pair.

    Shapes: -> ().
    """
    unit = F.normalize(embeddings, dim=1)
    logits = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    if classes is None:
        return F.cross_entropy(logits, torch.arange(len(unit), device=unit.device).roll(len(unit) // 2))
    twice = classes.repeat(2)
    positive = (twice[:, None] == twice).fill_diagonal_(False)
    share = torch.where(positive, logits.log_softmax(dim=1), 0).sum(dim=1) / positive.sum(dim=1)
    return -share.mean()
