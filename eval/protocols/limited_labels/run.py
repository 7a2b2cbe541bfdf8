"""Limited labels with fixed people: k labelled windows a class from a pool, all others of the pool unlabelled.

The pool, the people on whom one may choose, and the people who are asked are named once and never mixed; what varies
is the number of labels and the seed. Figures and lines are made in labels_results.py, episodes with people drawn anew
in fewshot.py.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from eval.data.features import encoder_features, untrained_twin
from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows, skeletons_of
from eval.finetune.joint import HEADS, JointNetwork, copied_tower, untrained_tower
from eval.finetune.network import Network, NetworkConfig, measured
from eval.finetune.spread import Inputs, side_by_side
from eval.finetune.supervised import at_spec_rate
from eval.probes import probes
from eval.protocols.limited_labels.config import LabelsConfig, Method, Number
from eval.protocols.limited_labels.subjects import People
from eval.protocols.limited_labels.train import train_members
from eval.results.cells import CellStore, identity
from imu_video.bundle.encoder import EncoderBundle
from imu_video.config import digest
from imu_video.errors import ConfigError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from imu_video.shards.schema import Index
    from imu_video.sides import TowerBundle


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Features of the video side, of every window.

    Args:
        name: where they come from; part of the identity of every cell that uses them.
        features: (N, Dt), NaN rows where a window has none.
        tower: the skeleton encoder itself, where there is one.
        skeletons: (N, F, J, 3) metres, what it was shown.
    """

    name: str
    features: np.ndarray
    tower: TowerBundle | None = None
    skeletons: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Counts of one method with one number of labels, over the seeds.

    Args:
        model: the encoder's name; ``none`` where no pretrained weights enter.
        method, number: what was done, with how many labels a class.
        weights: digest of the weights that enter, or of the architecture.
        pretrained: whether weights of the encoder under test, or of what was trained along with it, enter.
        counts: (R, S, M, M): seed, person, true class, predicted class; of the last step, or with ``learn: wise`` of
            alpha 0.5.
        chosen: the same of the step (alpha) that was best on the people of `choose`; None where there is none.
        bins: (R, S, B, 3) reliability bins of the same answers as ``counts``; None where scores are no probabilities,
            or where a cell from before they were kept has none.
        curve: with ``learn: wise`` what was found at every alpha.
    """

    model: str
    method: Method
    number: Number
    weights: str
    pretrained: bool
    counts: np.ndarray
    chosen: np.ndarray | None = None
    bins: np.ndarray | None = None
    curve: Curve | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Between a linear probe and the tuned network.

    Args:
        alphas: (A,), from 0 to 1.
        counts: (R, A, S, M, M) as in `Cells`.
        on_choose: (R, A) accuracy on the people of `choose`; None without them.
        chosen: (R,) the alphas that it chooses.
    """

    alphas: np.ndarray
    counts: np.ndarray
    on_choose: np.ndarray | None
    chosen: np.ndarray | None

    @classmethod
    def of(cls, held: Sequence[Mapping[str, np.ndarray]]) -> Curve:
        """From the cells of all seeds."""
        on_choose, chosen = _stacked(held, "on_choose"), _stacked(held, "alpha")
        counts = np.stack([h["by_alpha"] for h in held])
        return cls(alphas=held[0]["alphas"], counts=counts, on_choose=on_choose, chosen=chosen)


def _stacked(held: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray | None:
    """An array of every seed; None where one lacks it."""
    return np.stack([h[name] for h in held]) if all(name in h for h in held) else None


class LabelsRun:
    """Computes the cells of one encoder (of one or of every seed), reading what a store already holds.

    Args:
        people: the three groups.
        bundles: one encoder for all seeds, or one a seed, in the order of ``config.seeds``.
        weights: digest of each bundle's weights.
        model: name of the encoder in tables.
        config: what to run.
        store: holds finished cells; a run that was stopped goes on where it was.
        sides: features of the skeleton encoder that was trained along with each bundle; empty = the cached teacher's.

    Raises:
        ConfigError: numbers of encoders and seeds that do not fit, or a teacher that is needed and missing.
        LeakageError: somebody who is asked was in an encoder's pretraining.
    """

    def __init__(
        self,
        *,
        people: People,
        bundles: Sequence[EncoderBundle],
        weights: Sequence[str],
        model: str,
        config: LabelsConfig,
        store: CellStore,
        sides: Sequence[Side] = (),
    ) -> None:
        if len(bundles) not in (1, len(config.seeds)):
            raise ConfigError(
                f"{model}: {len(bundles)} encoders for {len(config.seeds)} seeds; give one, or one a seed",
                hint="put the encoders of all seeds into one folder, or set seeds=[0]",
            )
        if sides and len(sides) != len(bundles):
            raise ConfigError(
                f"{model}: {len(sides)} of {len(bundles)} encoders have a skeleton encoder of their own",
                hint="export all seeds with --with-skeleton, or none",
            )
        self.sides = list(sides)
        needy = [m.name for m in config.methods if m.uses_teacher and not (sides and m.start == "encoder")]
        if needy and people.windows.teacher is None:
            raise ConfigError(
                f"methods {needy} need a teacher's cached features", hint="embed the data, and set teacher=NAME"
            )
        windows = people.windows
        if tuple(windows.channels) != tuple(bundles[0].spec.channels):
            raise ConfigError(f"{model} reads {list(bundles[0].spec.channels)}, the data has {list(windows.channels)}")
        for bundle in bundles:
            refuse_training_subjects(bundle.lineage, windows, people.test)
        self.people, self.bundles, self.weights, self.model = people, list(bundles), list(weights), model
        self.config, self.store = config, store
        self._features: dict[Any, np.ndarray] = {}
        self._trained: list[float] = []

    def run(self) -> list[Cells]:
        """All cells; the cost is said before the first training."""
        plan = [(m, n, s) for m in self.config.methods for n in self.config.labels for s in range(self._seeds)]
        lacking = [p for p in plan if not self.store.has(self._key(*p))]
        todo = list({digest(self._key(*p)): p for p in lacking}.values())  # heads of one training share a cell
        trainings = [p for p in todo if p[0].trains]
        steps = sum(self._steps(*p) for p in trainings)
        logger.info(
            f"{self.model}: {len(plan)} cells, {len(plan) - len(lacking)} already there, {len(trainings)} trainings of "
            f"{steps} steps in all to do"
        )
        left = len(trainings)
        for number, place in enumerate(todo, start=1):
            began = time.monotonic()
            if not self.store.has(self._key(*place)):  # another process may have been there meanwhile
                self.store.put(self._key(*place), self._compute(*place))
            if place[0].trains:
                left -= 1
                self._trained.append(time.monotonic() - began)
                if len(self._trained) == 1 or number % 10 == 0:
                    minutes = left * float(np.mean(self._trained)) / 60
                    logger.info(f"  {len(todo) - number} cells to do, about {minutes:.1f} min")
        return [self._gather(m, n) for m in self.config.methods for n in self.config.labels]

    @property
    def _seeds(self) -> int:
        return len(self.config.seeds)

    def _schedules(self, method: Method) -> tuple[NetworkConfig | None, NetworkConfig | None]:
        """Of a linear head, and of everything."""
        tuned = self.config.scratch if method.start == "random" else self.config.finetune
        return (
            self.config.linear if method.learn in ("linear", "wise") else None,
            tuned if method.learn in ("all", "wise") else None,
        )

    def _steps(self, method: Method, number: Number, place: int) -> int:
        pool = self.people.pool
        many = len(self.people.labelled(number, self.config.seeds[place]) if method.spread is None else pool)
        return sum(s.steps_for(many) for s in self._schedules(method) if s is not None)

    def _bundle(self, place: int) -> EncoderBundle:
        return self.bundles[place if len(self.bundles) > 1 else 0]

    def _side(self, method: Method, place: int) -> Side:
        """The video side of a method: trained along with the encoder, or cached."""
        if self.sides and method.start == "encoder":
            return self.sides[place if len(self.sides) > 1 else 0]
        windows = self.people.windows
        assert windows.teacher is not None
        return Side(name=str(windows.teacher_name), features=windows.teacher)

    def _pretrained(self, method: Method) -> bool:
        return method.uses_student or (method.start == "encoder" and method.uses_teacher and bool(self.sides))

    def _weights(self, method: Method, place: int) -> str:
        if method.uses_student:
            own = self.weights[place if len(self.weights) > 1 else 0]
            return f"{own} {self._along(method, place).name}" if method.along else own
        if method.inputs == "teacher":
            return f"teacher {self._side(method, place).name}"
        bundle = self._bundle(place)
        # What the arithmetic sees and no more: two runs fit the same scale up to the last bit of a float64.
        scale = [[f"{v:.6g}" for v in values] for values in (bundle.spec.mean, bundle.spec.std)]
        shape = {"encoder": bundle.encoder_config, "channels": bundle.spec.channels, "rate_hz": bundle.spec.rate_hz}
        along = self._along(method, place).tower if method.along else None
        return "untrained " + digest({**shape, "scale": scale, **({"along": along.config} if along else {})})

    def _key(self, method: Method, number: Number, place: int) -> Mapping[str, Any]:
        """Everything that a cell depends on, and nothing else: the same cell is never computed twice."""
        windows = self.people.windows
        key: dict[str, Any] = {
            "data": windows.digest,
            "groups": [getattr(self.config, g).model_dump(mode="json") for g in ("pool", "test")],
            "method": method.identity(),
            "number": number,
            "seed": self.config.seeds[place],
            "weights": self._weights(method, place),
            "teacher": self._side(method, place).name if method.uses_teacher else None,
        }
        if self.config.classes is not None:
            key["classes"] = sorted(self.config.classes)
        if method.trains:
            linear, tuned = (s and identity(s, later=NetworkConfig.LATER) for s in self._schedules(method))
            key["schedule"] = tuned or linear
            if linear and tuned:
                key |= {"first": linear, "alphas": list(self.config.alphas)}
            key["choose"] = None if self.config.choose is None else self.config.choose.model_dump(mode="json")
        else:
            key["probe"] = self.config.probe
        return key

    def _gather(self, method: Method, number: Number) -> Cells:
        held = [self.store.get(self._key(method, number, place)) for place in range(self._seeds)]
        head = f" {method.inputs}" if method.along else ""
        weights = [self._weights(method, place) for place in range(self._seeds)]
        same = set(weights)
        return Cells(
            model=self.model if self._pretrained(method) else "none",
            pretrained=self._pretrained(method),
            method=method,
            number=number,
            weights=weights[0] if len(same) == 1 else digest({"weights": weights}),
            counts=np.stack([h[f"counts{head}"] for h in held]),
            chosen=_stacked(held, f"chosen{head}"),
            bins=_stacked(held, f"bins{head}"),
            curve=None if method.learn != "wise" else Curve.of(held),
        )

    # ------------------------------------------------------------------------------------------------- one cell

    def _compute(self, method: Method, number: Number, place: int) -> dict[str, np.ndarray]:
        targets, rows = self._targets(method, number, place)
        return self._train(method, targets, rows, place) if method.trains else self._probe(method, targets, rows, place)

    def _targets(self, method: Method, number: Number, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Soft labels (n, M) and the places in the pool that they belong to."""
        people = self.people
        labelled = people.labelled(number, self.config.seeds[place])
        truth = people.truth(people.pool)
        classes = len(people.classes)
        if method.spread is None or len(labelled) == len(people.pool):
            return np.eye(classes)[truth[labelled]], labelled
        known = np.full(len(people.pool), -1)
        known[labelled] = truth[labelled]
        options = method.spread
        features = self._inputs(method, options.inputs, place)[people.pool]
        return options.spread(features, known, classes=classes), np.arange(len(people.pool))

    def _probe(self, method: Method, targets: np.ndarray, rows: np.ndarray, place: int) -> dict[str, np.ndarray]:
        people = self.people
        features = self._inputs(method, method.inputs, place)
        support, query = features[people.pool[rows]], features[people.test]
        probe = probes.build(self.config.probe if isinstance(self.config.probe, dict) else {"name": self.config.probe})
        with threadpool_limits(1):
            if method.spread is None or np.array_equal(targets, targets.round()):
                fitted = probe.fit(support, targets.argmax(axis=1), classes=targets.shape[1])
            elif hasattr(probe, "fit_targets"):
                fitted = probe.fit_targets(support, targets)
            else:
                raise ConfigError(
                    f"method {method.name!r}: probe {self.config.probe} has no fit_targets for soft labels"
                )
        scores, how = fitted.scores(query), getattr(probe, "confidence", None)
        out = {"counts": people.counts(np.asarray(scores.argmax(axis=1)))}
        return out if how is None else {**out, "bins": people.bins(scores, how)}

    def _train(self, method: Method, targets: np.ndarray, rows: np.ndarray, place: int) -> dict[str, np.ndarray]:
        (linear, tuned), bundle, classes = self._schedules(method), self._bundle(place), targets.shape[1]
        config = tuned or linear
        assert config is not None
        imu, mask = self._windows(bundle)
        side = self._along(method, place) if method.along else None
        extra = None if side is None else side.skeletons
        if side is None and method.inputs == "fused":
            extra = self._extra(method, place)

        def make(seed: int) -> Network:
            fresh = method.start == "random"
            started = untrained_twin(bundle, seed) if fresh else _copy(bundle)
            if side is not None and side.tower is not None:
                tower = untrained_tower(side.tower) if fresh else copied_tower(side.tower)
                return JointNetwork(bundle=started, tower=tower, classes=classes, precision=config.precision)
            width = 0 if extra is None else extra.shape[1]
            return Network(bundle=started, classes=classes, extra=width, precision=config.precision)

        return train_members(
            make,
            self.people,
            imu,
            mask,
            targets=targets,
            rows=rows,
            linear=linear,
            tuned=tuned,
            alphas=self.config.alphas,
            seed=self.config.seeds[place],
            extra=extra,
            names=[f" {head}" for head in HEADS] if method.along else [""],
        )

    def _along(self, method: Method, place: int) -> Side:
        """The skeleton encoder that is trained along, and every window's skeleton."""
        side = self.sides[place if len(self.sides) > 1 else 0] if self.sides else None
        if side is None or side.tower is None or side.skeletons is None:
            raise ConfigError(
                f"method {method.name!r} trains a skeleton encoder along, {self.model} was exported without one",
                hint="pretrain with a tower and export --with-skeleton",
            )
        self._complete(method, side.features)
        return side

    # ------------------------------------------------------------------------------------------------- features

    def _inputs(self, method: Method, inputs: Inputs, place: int) -> np.ndarray:
        """Features (N, E) of all windows; blocks are scaled on the pool alone."""
        if inputs == "imu":
            return self._encoded(method.start, place)
        blocks = [self._seen(method, place)]
        if inputs == "fused":
            blocks.insert(0, self._encoded(method.start, place))
        return side_by_side(*blocks, reference=self.people.pool)

    def _encoded(self, start: str, place: int) -> np.ndarray:
        slot = ("encoder", place if len(self.bundles) > 1 else 0) if start == "encoder" else ("random", place)
        if slot not in self._features:
            bundle = self._bundle(place)
            if start == "random":
                bundle = untrained_twin(bundle, self.config.seeds[place])
            self._features[slot] = encoder_features(bundle, self.people.windows)
        return self._features[slot]

    def _seen(self, method: Method, place: int) -> np.ndarray:
        """Features of the video side; every window of pool and test must have them."""
        features = self._side(method, place).features
        self._complete(method, features)
        return features

    def _complete(self, method: Method, features: np.ndarray) -> None:
        watched = self.people.choose if method.trains else self.people.choose[:0]
        used = np.concatenate([self.people.pool, self.people.test, watched])
        lacking = int((~np.isfinite(features[used]).all(axis=1)).sum())
        if lacking:
            raise ConfigError(
                f"{lacking} of {len(used)} windows have nothing on the video side, method {method.name!r} needs it",
                hint="embed with a teacher whose modality every recording has, or filter pool and test",
            )

    def _extra(self, method: Method, place: int) -> torch.Tensor:
        scaled = side_by_side(self._seen(method, place), reference=self.people.pool)
        return torch.from_numpy(scaled).float()

    def _windows(self, bundle: EncoderBundle) -> tuple[torch.Tensor, torch.Tensor]:
        return measured(at_spec_rate(self.people.windows.x, rate_hz=self.people.windows.rate_hz, spec=bundle.spec))


def _copy(bundle: EncoderBundle) -> EncoderBundle:
    copy = EncoderBundle(spec=bundle.spec, encoder=bundle.encoder_config)
    copy.load_state_dict(bundle.state_dict())
    return copy


def encoder_folders(path: Path) -> list[Path]:
    """An encoder folder itself, or the encoder folders inside, sorted: one a seed.

    Raises:
        ConfigError: neither.
    """
    if (path / "config.json").is_file():
        return [path]
    inside = sorted(p.parent for p in path.glob("*/config.json"))
    if not inside:
        raise ConfigError(
            f"{path}: neither an encoder folder nor a folder of such", hint="`imu-pretrain export` makes one"
        )
    return inside


def sides_of(folders: Sequence[Path], windows: LabelledWindows, index: Index) -> list[Side]:
    """Features of the skeleton encoders that were exported with the encoders (``FOLDER/skeleton``), where they were."""
    from imu_video.sides import load_tower

    inside = [folder / "skeleton" for folder in folders if (folder / "skeleton" / "config.json").is_file()]
    if not inside:
        return []
    skeletons = skeletons_of(windows, index)
    out = []
    for folder in inside:
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]
        tower = load_tower(folder)
        features = tower.encode(skeletons)
        out.append(Side(name=f"tower {weights}", features=features, tower=tower, skeletons=torch.from_numpy(skeletons)))
    return out
