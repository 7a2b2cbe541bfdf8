"""COMODO's support vector machine on many windows: time, peak memory and accuracy, each side in a process of its own.

Ours fits on at most ``--most`` of the training windows, by class, and scores all test windows. The alternative is
scikit-learn's `GridSearchCV` over `SVC` with the same candidates and number of folds, one process, on a sample of the
same size from `train_test_split`. Features are made up: class means, subjects' offsets and noise.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time

import numpy as np

SUBJECTS = 30


def made_features(classes: int, per_class: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, E) float32 and classes (N,) of made-up windows; the classes' means do not depend on the seed."""
    means = 0.18 * np.random.default_rng(0).normal(size=(classes, width))
    rng = np.random.default_rng([seed, 1])
    label = np.repeat(np.arange(classes), per_class)
    offset = 0.3 * rng.normal(size=(SUBJECTS, width))[rng.integers(0, SUBJECTS, len(label))]
    x = rng.normal(size=(len(label), width)).astype(np.float32)
    for first in range(0, len(x), 4096):
        x[first : first + 4096] += means[label[first : first + 4096]] + offset[first : first + 4096]
    return x, label


def ours(train: tuple[np.ndarray, np.ndarray], test: np.ndarray, classes: int, most: int) -> tuple[np.ndarray, float]:
    """Predictions and the selected C of the probe."""
    from eval.probes import SvmProbe

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    fitted = SvmProbe(most=most).fit(*train, classes=classes)
    return fitted.scores(test).argmax(axis=1), fitted.c


def alternative(
    train: tuple[np.ndarray, np.ndarray], test: np.ndarray, classes: int, most: int
) -> tuple[np.ndarray, float]:
    """The same with scikit-learn alone."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
    from sklearn.preprocessing import StandardScaler, normalize
    from sklearn.svm import SVC

    scaler = StandardScaler()
    x, y = scaler.fit_transform(normalize(train[0])), train[1]
    if len(x) > most:
        x, _, y, _ = train_test_split(x, y, train_size=most, random_state=0, stratify=y)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(SVC(), {"C": [10.0**e for e in range(-4, 5)]}, cv=folds).fit(x, y)
    return search.predict(scaler.transform(normalize(test))), search.best_params_["C"]


def measure(side: str, classes: int, per_class: int, width: int, most: int) -> dict[str, float]:
    """Run one side in this process: seconds of processor time and on the wall, peaks of resident memory, accuracy."""
    import eval.probes  # noqa: F401  both sides start with the same modules in memory

    train, (test, truth) = (made_features(classes, per_class, width, seed) for seed in (0, 1))
    before, wall, cpu = _peak_mb(), time.perf_counter(), time.process_time()
    predicted, c = {"ours": ours, "GridSearchCV": alternative}[side](train, test, classes, most)
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "before_mb": before,
        "peak_mb": _peak_mb(),
        "accuracy": float((predicted == truth).mean()),
        "C": c,
    }


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def main(given: argparse.Namespace) -> None:
    """Measure both sides in turns and print a table."""
    from common import heading  # here: a child runs with -P, without this folder on its path

    total = given.classes * given.per_class
    heading(f"SVM of {given.classes} x {given.per_class:,} windows, {given.width} features, tested on as many")
    columns = ("side", "windows", "start MB", "peak MB", "CPU s", "wall s", "C", "accuracy")
    print(" ".join(f"{name:>12}" for name in columns))
    seconds: dict[str, list[float]] = {}
    for _ in range(given.repeats):
        for side in ("ours", "GridSearchCV"):
            words = [side, *map(str, (given.classes, given.per_class, given.width, given.most))]
            child = [sys.executable, "-P", __file__, "--child", *words]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            seconds.setdefault(side, []).append(row["cpu_s"])
            cells = (f"{total:,}", *(f"{row[k]:.0f}" for k in ("before_mb", "peak_mb", "cpu_s", "wall_s")))
            print(" ".join(f"{c:>12}" for c in (side, *cells, f"{row['C']:g}", f"{row['accuracy']:.4f}")), flush=True)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["GridSearchCV"], strict=True)]
    print(f"GridSearchCV / ours, processor time: {np.median(ratios):.2f}   ({min(ratios):.2f} .. {max(ratios):.2f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
        sys.exit()
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classes", type=int, default=6)
    options.add_argument("--per-class", type=int, default=10_000, help="training windows of a class, and as many tests")
    options.add_argument("--width", type=int, default=193)
    options.add_argument("--most", type=int, default=10_000)
    options.add_argument("--repeats", type=int, default=1)
    main(options.parse_args())
