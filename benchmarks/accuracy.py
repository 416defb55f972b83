"""Compares the scores of recipes on many data sets after the same training time, to judge whether a change helps.

    python -m benchmarks.accuracy --data FOLDER --out DIR --recipe default= --recipe sgd=optimizer=sgd --recipe monai
    python -m benchmarks.accuracy --out DIR --table

A recipe is a name and, after ``=``, Hydra overrides with commas between them (``a=trainer.lr=0.01,loss=dice``), or one
of `benchmarks/peers.py`, such as ``monai``. Every recipe is trained on every set with every seed, one job after the
other. The recipes take turns, so that other programs on the machine affect all recipes equally; the load is recorded.
The limit is wall-clock time and includes the start-up. For all recipes, the weights of the last step are scored at a
threshold of 0.5.

    python -m benchmarks.accuracy --data FOLDER --out DIR --steps 600 --jobs 16 --recipe default= --recipe monai@230

With `--steps` the limit is a number of steps. Scores can then be compared, but not times, so jobs can run at once, also
on a GPU. If the steps of a recipe take more or less time, give it its own number:
`b=trainer.batch_size=4,trainer.steps=1100`, `monai@230`.

The sets are the folders in FOLDER that `SETS` names, in the project's layout (train|val/img|mask), and generated
images. Finished jobs are not repeated, so an interrupted benchmark can be continued. The table compares each recipe
with the first, image by image (each the mean over seeds), by the paired permutation test and the 95 % interval.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from segexp.metrics.interval import paired_difference

SETS = {
    "nuclei": "vesicle",
    "synseg/vesicle": "vesicle",
    "guv_gray": "vesicle",
    "em_membranes": "cytoskeleton",
    "synseg/cytoskeleton": "cytoskeleton",
    "actin_plant": "cytoskeleton",
    "neuron_bf": "cytoskeleton",
    "generated/vesicle": "vesicle",
    "generated/cytoskeleton": "cytoskeleton",
}
SCORES = {"vesicle": ("dice", "object_f1"), "cytoskeleton": ("dice", "skeleton_f1")}
GENERATED = ("--train", "40", "--val", "12", "--size", "384", "--seed", "7")


def segexp(*arguments: str) -> list[str]:
    """Return the command line of this checkout's package."""
    return [sys.executable, "-m", "segexp.cli", *arguments]


def run(command: list[str], log: Path) -> dict[str, float]:
    """Return wall-clock and processor seconds and peak memory; on failure, raise with the end of the output."""
    tick, load = time.monotonic(), os.getloadavg()[0]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # usage of this process and of those that it waited for
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code:
        raise SystemExit(f"{' '.join(command)}\nexit code {code}: ...{log.read_text(errors='replace')[-2000:]}")
    return {
        "seconds": time.monotonic() - tick,
        "processor s": usage.ru_utime + usage.ru_stime,
        "peak MiB": usage.ru_maxrss / 1024,
        "load before": load,
        "load after": os.getloadavg()[0],
    }


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def place(name: str, data: Path, out: Path) -> Path | None:
    """Return the folder of a set, or None if it does not exist; generated sets are written on first use."""
    if not name.startswith("generated/"):
        return data / name if (data / name / "train").is_dir() else None
    folder = out / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = segexp("synthesize", SETS[name], "--output", str(folder), *GENERATED)
        run(arguments, folder.with_suffix(".log"))
    return folder


def job(
    recipe: str, order: int, task: str, data: Path, seed: int, seconds: float, folder: Path, steps: int | None = None
) -> None:
    """Train and score one recipe for `seconds`, or for `steps` if given, unless that job is finished."""
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    log, (name, _, overrides) = folder / "log.txt", recipe.partition("=")
    if overrides or recipe.endswith("="):
        limit = f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
        limits = [f"trainer.max_time={limit}"] if steps is None else ["trainer.max_time=null", f"trainer.steps={steps}"]
        arguments = [f"task={task}", "trainer=quick", f"data.root={data}", *limits, f"seed={seed}"]
        arguments += [part for part in re.split(r",(?![^\[]*\])", overrides) if part]  # not at commas within a list
        facts = run(segexp("train", *arguments, f"output_dir={folder / 'run'}", "overwrite=true"), log)
        scored = ["--model", str(folder / "run" / "last.pth"), "--data", str(data), "--threshold", "0.5"]
        scored += ["--scores", "object,filament", "--output", str(folder / "scored")]
        facts["scoring s"] = run(segexp("evaluate", *scored), log)["seconds"]
        table = folder / "scored" / "scores.csv"
        facts["steps"] = float(read_table(folder / "run" / "metrics.csv")[-1]["step"])
    else:
        name, _, own_steps = name.partition("@")
        limits = ["--seconds", str(seconds)] if steps is None else ["--steps", own_steps or str(steps)]
        arguments = ["--data", str(data), "--task", task, *limits, "--seed", str(seed)]
        facts = run([sys.executable, "-m", "benchmarks.peers", name, *arguments, "--output", str(folder)], log)
        facts |= json.loads((folder / "peer.json").read_text())
        table = folder / "scores.csv"
    rows = [{key: row[key] for key in ("image", *SCORES[task])} for row in read_table(table)]
    part = folder / "result.part"
    known = {"recipe": recipe, "order": order, "task": task, "seed": seed, "limit": seconds if steps is None else None}
    part.write_text(json.dumps(known | facts | {"rows": rows}))
    os.replace(part, folder / "result.json")


def title(recipe: str) -> str:
    """Return a recipe's name, without its overrides."""
    return recipe.partition("=")[0]


def values(results: list[dict], score: str) -> dict[str, float]:
    """Return a score of each image, as the mean over seeds; undefined scores are left out."""
    by_image: dict[str, list[float]] = {}
    for result in results:
        for row in result["rows"]:
            if row[score] not in ("", "nan", None):
                by_image.setdefault(row["image"], []).append(float(row[score]))
    return {image: statistics.mean(found) for image, found in by_image.items()}


def verdict(first: dict[str, float], other: dict[str, float]) -> tuple[str, str]:
    """Return, as text with figures, whether `other` is better than `first`."""
    images = sorted(first.keys() & other.keys())
    gap = paired_difference([other[image] for image in images], [first[image] for image in images])
    interval = gap.interval
    figures = f"{gap.mean:+.3f}" + (f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else "")
    sure = gap.p < 0.05 and interval is not None and (interval[0] > 0 or interval[1] < 0)
    return ("better" if gap.mean > 0 else "worse") if sure else "within noise", f"{figures}, p {gap.p:.2g}"


def table(out: Path) -> str:
    """Return all results, set by set, and a summary."""
    results = [json.loads(path.read_text()) | {"path": path} for path in sorted(out.rglob("result.json"))]
    lines, sums = [], {}
    names = sorted({str(result["path"].parents[2].relative_to(out)) for result in results})
    recipes = list(dict.fromkeys(result["recipe"] for result in sorted(results, key=lambda result: result["order"])))
    for name in names:
        here = [result for result in results if str(result["path"].parents[2].relative_to(out)) == name]
        for score in SCORES[here[0]["task"]]:
            first = values([result for result in here if result["recipe"] == recipes[0]], score)
            for recipe in recipes:
                own = [result for result in here if result["recipe"] == recipe]
                if not own:
                    continue
                found = values(own, score)
                mean = statistics.mean(found.values()) if found else float("nan")
                steps = statistics.mean(result["steps"] for result in own)
                line = (
                    f"{name:24s} {score:12s} {recipe.split('=')[0]:16s} {mean:.3f}  {len(own)} seeds, {steps:.0f} steps"
                )
                if recipe != recipes[0] and first:
                    result, figures = verdict(first, found)
                    sums.setdefault((recipe, score), []).append(result)
                    line += f"  {result}: {figures}"
                lines.append(line)
    for (recipe, score), found in sums.items():
        counted = ", ".join(f"{result} on {found.count(result)}" for result in ("better", "within noise", "worse"))
        lines.append(
            f"{recipe.split('=')[0]} against {recipes[0].split('=')[0]}, {score}, {len(found)} sets: {counted}"
        )
    return "\n".join(lines)


def run_all(options: argparse.Namespace) -> None:
    """Run every unfinished job; raise the first failure after the running jobs have ended."""
    recipes = options.recipe or ["default="]
    if options.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))

    def work(name: str, folder: Path, recipe: str, seed: int) -> None:
        where = options.out / name / title(recipe) / f"seed{seed}"
        limits = (options.seconds, where, options.steps)
        job(recipe, recipes.index(recipe), SETS[name], folder, seed, *limits)
        print(f"{name} {recipe} seed {seed} done", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = []
        for seed in range(options.seeds):
            turn = recipes[seed % len(recipes) :] + recipes[: seed % len(recipes)]  # no recipe is always first
            for name in options.sets.split(","):
                folder = place(name, options.data or Path(), options.out)
                if folder is None:
                    print(f"{name}: not in {options.data}, left out", flush=True)
                    continue
                jobs += [pool.submit(work, name, folder, recipe, seed) for recipe in turn]
        try:
            for done in as_completed(jobs):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", action="append", default=[], help="NAME=OVERRIDES, or a peer; may be repeated")
    parser.add_argument("--sets", default=",".join(SETS), help="names of sets, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--steps", type=int, help="limit in steps, instead of seconds")
    parser.add_argument("--jobs", type=int, default=1, help="jobs at once; only with --steps")
    parser.add_argument("--table", action="store_true", help="only print the table of existing results")
    options = parser.parse_args()
    if options.jobs > 1 and options.steps is None:
        parser.error("--jobs: jobs side by side slow each other, so the limit must be --steps")
    if not options.table:
        run_all(options)
    print(table(options.out))


if __name__ == "__main__":
    main()
