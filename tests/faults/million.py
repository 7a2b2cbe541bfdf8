"""Script: damages inputs of our readers, hundreds of thousands of them, and counts the right outcomes by kind.

    python -P tests/faults/million.py --kind all --count 100000 --seed 0 --out faults-out

One child process per kind reads the damaged inputs. A death of the child (SIGSEGV, SIGABRT, SIGBUS, out of memory) or
a hang is counted as wrong for the seed it was at, and the next seed goes on in a new child. Progress is kept in OUT, so
that the same command continues; OUT/KIND-SEED-failed.json has the seeds with a wrong outcome and what was wrong. Those
worth keeping go into `seeds.json`, which `test_seeds.py` replays. Exit code 1 if any outcome was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

CHUNK = 2000
HANG_S = 600.0
LIMIT_MB = 4000


def work(kind: str, seeds: Sequence[int], folder: Path) -> None:
    """Check the seeds of one kind in this process; prints the position of each, and those that are wrong."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_MB << 20, LIMIT_MB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tests.faults.kinds import KINDS

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a native library prints to the standard output is no result
    made = KINDS[kind](folder)
    for number, seed in enumerate(seeds):
        out.write(f"{number}\n")
        wrong = made.check(seed)
        if wrong is not None:
            out.write("! " + json.dumps([seed, wrong[:500]]) + "\n")
    out.write("done\n")


def wrong_of(kind: str, seeds: Sequence[int]) -> dict[int, str]:
    """The seeds with a wrong outcome, and what was wrong; a death of a child costs one seed."""
    wrong: dict[int, str] = {}
    done = 0
    while done < len(seeds):
        count, some = chunk(kind, seeds[done : done + CHUNK])
        done += count
        wrong.update(some)
    return wrong


def chunk(kind: str, seeds: Sequence[int]) -> tuple[int, list[tuple[int, str]]]:
    """Check seeds in a child, from the first to the one that ends it: how many were checked, and the wrong ones."""
    searched = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix=f"faults-{kind}-", dir=_memory()) as scratch:
        child = subprocess.Popen(
            [sys.executable, "-P", __file__, "--work", kind, f"{scratch}/{kind}", *map(str, seeds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(searched)},
        )
        return _follow(child, seeds)


def _follow(child: subprocess.Popen[str], seeds: Sequence[int]) -> tuple[int, list[tuple[int, str]]]:
    errors: deque[str] = deque(maxlen=200)
    threading.Thread(target=lambda: errors.extend(child.stderr or ()), daemon=True).start()
    at, wrong, hung, done, rest = -1, list[tuple[int, str]](), False, False, ""
    assert child.stdout is not None
    handle = child.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=HANG_S):
                hung = True
                child.kill()
                break
            block = os.read(handle, 1 << 16)
            if not block:
                break
            *lines, rest = (rest + block.decode(errors="replace")).split("\n")
            for line in lines:
                if line == "done":
                    done = True
                elif line.startswith("! "):
                    seed, what = json.loads(line[2:])
                    wrong.append((int(seed), str(what)))
                else:
                    at = int(line)
    code = child.wait()
    if done:
        return len(seeds), wrong
    if at < 0:
        raise RuntimeError(f"the child ended with {code} before its first input:\n{''.join(errors)[-3000:]}")
    what = f"no answer for {HANG_S:g} s" if hung else f"the process ended with {code}"
    tail = "".join(errors).strip()[-200:]
    return at + 1, [*wrong, (seeds[at], f"{what}: {tail}")]


def _memory() -> str | None:
    """A folder in memory, where the platform has one: a damaged input is a few file operations."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _store(out: Path, name: str, content: object) -> None:
    partial = out / f".{name}.{os.getpid()}"
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, out / name)


def main() -> int:
    """Run the kinds in turns of `CHUNK` inputs until each has ``--count`` of them."""
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], [int(seed) for seed in sys.argv[4:]], Path(sys.argv[3]))
        return 0
    from tests.faults.kinds import KINDS

    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--kind", default="all", help=f"all, or some of {','.join(KINDS)}")
    options.add_argument("--count", type=int, default=100_000, help="inputs per kind")
    options.add_argument("--seed", type=int, default=0, help="the first seed")
    options.add_argument("--out", type=Path, default=Path("faults-out"), help="progress and seeds that failed")
    options.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long; run again to continue"
    )
    given = options.parse_args()
    kinds = list(KINDS) if given.kind == "all" else given.kind.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        options.error(f"unknown kind {unknown[0]!r}; known: {', '.join(KINDS)}")
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, list[int]] = {}
    failed: dict[str, dict[str, str]] = {}
    for kind in kinds:
        file, bad = out / f"{kind}-{given.seed}.json", out / f"{kind}-{given.seed}-failed.json"
        counts[kind] = json.loads(file.read_text()) if file.is_file() else [0, 0]
        failed[kind] = json.loads(bad.read_text()) if bad.is_file() else {}
    begun = time.monotonic()
    while any(counts[kind][0] < given.count for kind in kinds):
        for kind in kinds:
            tried, right = counts[kind]
            if tried >= given.count:
                continue
            if time.monotonic() - begun > 60 * given.minutes:
                return _summary(kinds, counts, failed)
            first = given.seed + tried
            count, wrong = chunk(kind, range(first, min(first + CHUNK, given.seed + given.count)))
            counts[kind] = [tried + count, right + count - len(wrong)]
            failed[kind].update({str(seed): what for seed, what in wrong})
            _store(out, f"{kind}-{given.seed}-failed.json", failed[kind])
            _store(out, f"{kind}-{given.seed}.json", counts[kind])
            print(f"{kind}: {counts[kind][1]:,} of {counts[kind][0]:,} right", flush=True)
            for seed, what in wrong[:3]:
                print(f"   seed {seed}: {what}", flush=True)
    return _summary(kinds, counts, failed)


def _summary(kinds: list[str], counts: dict[str, list[int]], failed: dict[str, dict[str, str]]) -> int:
    width = shutil.get_terminal_size().columns
    print(f"{'kind':<12}{'tried':>12}{'right':>12}{'wrong':>8}")
    for kind in kinds:
        tried, right = counts[kind]
        print(f"{kind:<12}{tried:>12,}{right:>12,}{tried - right:>8,}")
    tried, right = (sum(counts[kind][i] for kind in kinds) for i in (0, 1))
    print(f"{'all':<12}{tried:>12,}{right:>12,}{tried - right:>8,}")
    for kind in kinds:
        for seed, what in list(failed[kind].items())[:5]:
            print(f"{kind} {seed}: {what}"[:width])
    return int(tried != right)


if __name__ == "__main__":
    sys.exit(main())
