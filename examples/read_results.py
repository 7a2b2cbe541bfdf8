"""Read results.jsonl and recompute a figure.

Every line holds the value, the confidence interval and the provenance of one measurement. The confusion counts per
subject and episode are stored beside the file, so any other metric can be computed afterwards.
"""

import runpy
from pathlib import Path

import numpy as np

from eval.results import load_counts, read_results

if not Path("results.jsonl").exists():
    runpy.run_path(str(Path(__file__).with_name("few_shot.py")))

results, replaced = read_results([Path("results.jsonl")])
print(f"{len(results)} measurements, {replaced} replaced by later lines")
for line in results:
    if line.metric == "accuracy":
        model = f"{line.model} - {line.reference}" if line.reference else line.model
        figure = f"{line.value:6.3f} [{line.low:.3f}, {line.high:.3f}]"
        print(f"{model:26} {line.domain:7} {line.probe} shots {line.shots}: {figure}")

line = next(line for line in results if line.metric == "accuracy" and line.cells)
counts, names = load_counts(line.cells, Path())  # (seed, episode, subject, true class, predicted class)
confusion = counts.sum(axis=(0, 1, 2))
recall = np.diag(confusion) / confusion.sum(axis=1)
print(names)
print("recall per class:", recall.round(3))
assert counts.ndim == 5
