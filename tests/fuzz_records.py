"""Damage the records that segexp reads back and read them: an `InputError` that names the file, or a sound result.

    python -W error -m tests.fuzz_records --seconds 600 --seed 1

Every JSON, CSV, YAML and model file of a run, a sweep and an evaluation is mutated: bits flipped, cut, bytes put in or
taken out, NUL bytes at the end, and inside JSON and model files any value replaced by one of another type or size.
Prints how many files of each kind were read or refused.
"""

import argparse
import copy
import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from segexp import checkpoint
from segexp.config import load_augment
from segexp.config.overrides import with_resume
from segexp.data.ranges_file import read_ranges
from segexp.data.splits import read_split
from segexp.errors import InputError
from segexp.evaluation.comparison import candidates, compare, read_run
from segexp.report.records import read_records
from segexp.report.run_page import render_run
from segexp.report.sweep_page import read_jobs as read_sweep
from segexp.report.sweep_page import repeats, sentence
from segexp.sweep import job_store
from tests.inference.test_predictor import write_model
from tests.report.folders import write_run, write_sweep

SECONDS = 20.0
"""Processor time that one file may take."""
ODD: list[Any] = [None, True, -1, 0, 10**30, 10**400, 1e308, math.inf, math.nan, "", "x", "\x1b[2J", "x" * 10**5]
ODD += [[], [[]], {}, {"": 1}, [None] * 3, "\ud800", "../../x", "=cmd", "${oc.env:HOME}"]
Read = Callable[[Path], object]


def corpus(folder: Path) -> dict[str, tuple[Path, Read]]:
    """Sound records in `folder`: name -> (file, what reads it back, given the file)."""
    run, sweep = write_run(folder / "run", images=3, size=32), folder / "sweep"
    write_sweep(sweep)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("seed: 0\ndata: {fold: 1/5, root: null}\ntask: {name: vesicle}\n")
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["task=vesicle", "trainer.lr=0.01", "+a.b=[1,2]"]))
    (run / "last.pth").write_bytes(b"")
    write_model(run / "best_vesicle_model.pth")
    job = job_store.Record(sweep / "0", 0, ["seed=1"], job_store.Identity("a", "b", "c"), job_store.DONE, 0.5, 3.0)
    job.folder.mkdir(exist_ok=True)
    job.save()
    (folder / "split.json").write_text(json.dumps({"format": 1, "train": ["a"], "val": ["b"], "fold": "1/2"}))
    (folder / "ranges.yaml").write_text("task: vesicle\nstyle: [cells]\nranges:\n  psf: [1.1, 1.4]\n  photons: 90.0\n")
    shutil.copy(Path(__file__).parent.parent / "conf" / "augment" / "vesicle.yaml", folder / "augment.yaml")
    sound = read_run(run)

    def page(path: Path) -> None:
        read_records(run)
        if path.stat().st_mtime_ns // 1000 % 4 == 0:  # charts take their time
            assert "\x1b" not in render_run(run)

    def table(path: Path) -> None:
        jobs = read_sweep(sweep)
        sentence(jobs, [])
        repeats([job for job in jobs if job["score"] is not None])

    def pair(path: Path) -> None:
        page(path)
        candidates([sound, read_run(run)])
        compare(*candidates([sound, read_run(run)])[:1] * 2)

    found: dict[str, tuple[Path, Read]] = {
        f"run {name}": (run / name, pair if name.startswith("val/") else page)
        for name in ("summary.json", "run.json", "metrics.csv", "val/scores.csv", "val/evaluation.json")
    }
    found["run pictures.json"] = (run / "val" / "pictures.json", page)
    found["run config.yaml"] = (run / ".hydra" / "config.yaml", lambda path: read_run(run))
    found["run overrides.yaml"] = (run / ".hydra" / "overrides.yaml", lambda path: with_resume([f"resume={run}"]))
    found["sweep summary.csv"] = (sweep / "summary.csv", table)
    found["sweep job.json"] = (job.folder / "job.json", lambda path: job_store.read_jobs(sweep))
    found["split.json"] = (folder / "split.json", lambda path: read_split(path, ["a", "b"]))
    found["ranges.yaml"] = (folder / "ranges.yaml", lambda path: read_ranges(path, "vesicle"))
    found["augment.yaml"] = (folder / "augment.yaml", load_augment)
    found["model"] = (run / "best_vesicle_model.pth", checkpoint.load_model)
    return found


def mutate(path: Path, data: bytes, rng: np.random.Generator) -> None:
    """Write `path` with one or a few faults in the sound content `data`."""
    if path.suffix == ".json" and rng.random() < 0.6:
        path.write_text(json.dumps(_replaced(json.loads(data), rng)), encoding="utf-8")
        return
    if path.suffix == ".pth" and rng.random() < 0.6:
        path.write_bytes(data)
        content = torch.load(path, weights_only=True)
        weights = content.pop("weights")
        torch.save(_replaced(content, rng) | {"weights": weights}, path)
        return
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(changed) + 1)), int(rng.integers(6))
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 30))]
        elif kind == 3:
            changed[at:at] = rng.integers(0, 256, int(rng.integers(1, 9)), np.uint8).tobytes()
        elif kind == 4:
            changed += bytes(int(rng.integers(1, 5000)))
        else:
            odd = (b"9" * 5000, b"NaN", b"-1e999", b"[" * 5000, b",,,", b'"', b"\xff\xfe", b"&a *a", b"${x:y}", b"=1+1")
            changed[at:at] = odd[int(rng.integers(len(odd)))]
    path.write_bytes(changed)


def _replaced(content: Any, rng: np.random.Generator) -> Any:
    """The content with the value at a random place replaced, or taken out."""
    content = copy.deepcopy(content)
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return content
        key = keys[int(rng.integers(len(keys)))]
        inside = node[key]
        if isinstance(inside, dict | list) and inside and rng.random() < 0.7:
            node = inside
            continue
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
        return content


def attempt(path: Path, read: Read) -> bool:
    """Read a record; whether it was taken. What is no `InputError`, or names no file, comes through."""
    try:
        read(path)
    except InputError as error:
        place = str(path.parent.parent if path.parent.name in ("val", ".hydra") else path.parent)
        assert path.name in str(error) or place in str(error), error  # noqa: PT017
        assert len(str(error)) < 2000, error  # noqa: PT017
        return False
    return True


def run(folder: Path, seed: int, count: int, seconds: float) -> Counter[str]:
    """Mutate and read until `count` or `seconds` are reached; how many of each kind were read or refused."""
    rng = np.random.default_rng(seed)
    kinds = corpus(folder)
    sound = {name: path.read_bytes() for name, (path, _) in kinds.items()}
    outcomes: Counter[str] = Counter()
    for name, (path, read) in kinds.items():
        assert attempt(path, read), f"{name} is not read"
    names, end = sorted(kinds), time.monotonic() + seconds
    for number in range(count):
        if time.monotonic() > end:
            break
        name = names[number % len(names)]
        path, read = kinds[name]
        mutate(path, sound[name], rng)
        tick = time.process_time()
        try:
            taken = attempt(path, read)
        except Exception:
            print(f"{name}, number {number} of seed {seed}: {path}", flush=True)
            raise
        took = time.process_time() - tick
        assert took < SECONDS, f"{name}, number {number} of seed {seed}: {took:.1f} s"
        outcomes[f"{name}: {'read' if taken else 'refused'}"] += 1
        path.write_bytes(sound[name])
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, help="where the files lie, the last of them too; default: temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(run(folder, options.seed, options.count, options.seconds), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
