"""The whole promise on a GPU, proved by one command.

    python -m benchmarks.gpu --minutes 7 --out DIR [--only equality,waiting]

Stages run in order of worth, each in a process of its own with a time limit, so that one that hangs or crashes costs
its own time alone. What a stage measures is in DIR/results.json as soon as it is measured; a short table is printed
last. A check that fails says why there, and the next one runs. Without a GPU the same stages run on the CPU in
miniature. Exit code: 0, or 1 where a check failed or a stage did not end. docs/gpu.md explains the figures.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu import equality, product, throughput, training_step
from benchmarks.gpu.parts import Setting

STAGES: dict[str, tuple[Callable, float]] = {  # with its share of the time
    "equality": (equality.checks, 0.06),
    "waiting": (training_step.waiting, 0.11),
    "throughput": (throughput.checks, 0.23),
    "step": (training_step.costs, 0.20),
    "training": (product.training, 0.30),
    "files": (product.files, 0.07),
    "traces": (training_step.traces, 0.03),
}
PACKAGES = ("torch", "kornia", "numpy", "opencv-python-headless", "triton")


def record(path: Path, change: Callable[[dict], None]) -> None:
    """Change the results, replacing the file as a whole: whoever reads it never finds half of it."""
    results = json.loads(path.read_text()) if path.exists() else {}
    change(results)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1))
    os.replace(part, path)


def facts(device: torch.device) -> dict[str, Any]:
    """Card, versions and date."""
    found: dict[str, Any] = {"date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}", "device": device.type}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {"card": card.name, "memory GiB": round(card.total_memory / 2**30, 1), "CUDA": torch.version.cuda}
    installed = {package.metadata["Name"]: package.version for package in metadata.distributions()}
    found |= {name: installed[name] for name in PACKAGES if name in installed}
    return found | {"python": platform.python_version()}


def run_stage(name: str, device: str, results: Path, work: str, seconds: float) -> None:
    """All checks of a stage; in a process of its own."""
    os.setsid()  # what it starts can be ended with it
    end = time.monotonic() + seconds
    torch.manual_seed(0)
    place = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    record(results, lambda content: content.setdefault("facts", facts(place)))
    failed = False
    for check, run in STAGES[name][0](Setting(place, work, seconds)):
        tick = time.monotonic()
        if tick > end:
            row: dict[str, Any] = {"skipped": "no time left"}
        else:
            try:
                row = run()
            except Exception as error:  # whatever it is, the next check runs
                message = f"{type(error).__name__}: {error}"
                row = {"ok": False, "error": message[:300], "traceback": traceback.format_exc()[-3000:]}
        failed |= row.get("ok") is False
        row["took s"] = round(time.monotonic() - tick, 2)
        record(results, lambda content, check=check, row=row: content["stages"][name]["rows"].update({check: row}))
        if place.type == "cuda":
            with contextlib.suppress(RuntimeError):  # after a fault of the device nothing works
                torch.cuda.empty_cache()
    status = "failed" if failed else "ok"
    record(results, lambda content: content["stages"][name].update(status=status))


def run_all(names: list[str], device: str, out: Path, minutes: float) -> None:
    """One stage after another; time that one leaves over goes to the next."""
    results = out / "results.json"
    results.unlink(missing_ok=True)
    record(results, lambda content: content.update(minutes=minutes, stages={}))
    context = multiprocessing.get_context("fork")  # imports are done once; nothing has touched the GPU yet
    start, share, whole = time.monotonic(), 0.0, sum(STAGES[name][1] for name in names)
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            share += STAGES[name][1] / whole
            tick = time.monotonic()
            seconds = start + 60 * minutes * share - tick
            began = {"status": "began", "limit s": round(seconds, 1), "rows": {}}
            record(results, lambda content, name=name, began=began: content["stages"].update({name: began}))
            # checks stop a little before the stage is stopped
            child = context.Process(target=run_stage, args=(name, device, results, work, 0.9 * seconds))
            child.start()
            child.join(max(seconds, 5.0))
            status = None if child.exitcode == 0 else f"ended with exit code {child.exitcode}"
            if child.exitcode is None:
                status = f"stopped after {seconds:.0f} s"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.join()
            taken = {"took s": round(time.monotonic() - tick, 1)} | ({"status": status} if status else {})
            record(results, lambda content, name=name, taken=taken: content["stages"][name].update(taken))
            print(f"{name}: {json.loads(results.read_text())['stages'][name]['status']}", flush=True)
        for trace in sorted(Path(work).glob("step_*.json.gz")):
            (out / trace.name).write_bytes(trace.read_bytes())


def table(results: dict) -> str:
    """One line a check."""
    lines = ["  ".join(f"{name} {value}" for name, value in results.get("facts", {}).items())]
    for stage, content in results["stages"].items():
        lines.append(f"\n{stage}: {content['status']}, {content.get('took s', 0)} of {content['limit s']} s")
        for name, row in content["rows"].items():
            if "error" in row:
                lines.append(f"  FAILED  {name}: {row['error'][:160].splitlines()[0]}")
                continue
            mark = {True: "ok", False: "FAILED", None: ""}[row.get("ok")]
            mark = {True: "goal", False: "short", None: mark}[row.get("met")]
            hidden = ("ok", "met", "slowest, ms", "took s")
            shown = [f"{key}={_short(value)}" for key, value in row.items() if key not in hidden]
            lines.append(f"  {mark:7s} {name}: {', '.join(shown)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json, table.txt and traces")
    parser.add_argument("--only", default=",".join(STAGES), help="stages, by commas")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - set(STAGES):
        parser.error(f"--only {', '.join(sorted(unknown))}: expected any of {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    run_all(names, options.device, options.out, options.minutes)
    results = json.loads((options.out / "results.json").read_text())
    (options.out / "table.txt").write_text(table(results) + "\n")
    print(table(results))
    return 0 if all(stage["status"] == "ok" for stage in results["stages"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
