"""The product's own commands: training both tasks, a kill and a resume, prediction and evaluation of files."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
from benchmarks.gpu.parts import Setting, milliseconds

from segexp import checkpoint, synthesis

ROOT = Path(__file__).resolve().parents[2]
TINY = ("trainer=smoke", "model.widths=[4,8]", "task.crop=32", "data.synthetic.size=64", "data.synthetic.train=4")


def training(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Determinism first, since it takes less."""
    yield "two equal runs, and one after kill -9 and resume", partial(_repeatable, setting)
    yield "both tasks trained side by side", partial(_train_both, setting)


def files(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Generation, prediction of one large image, evaluation."""
    for task in ("vesicle", "cytoskeleton"):
        yield f"generated on the device, {task}", partial(_generate, setting, task)
    yield "prediction of a large image", partial(_predict, setting)
    yield "evaluation", partial(_evaluate, setting)


def command(*words: str) -> list[str]:
    """`segexp` of this checkout."""
    return [sys.executable, "-m", "segexp.cli", *words]


def start(words: list[str], log: Path) -> subprocess.Popen:
    """Run it beside this process, its output in a file."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path})


def finish(process: subprocess.Popen, log: Path) -> None:
    """Wait for it; raises with the end of its output where it failed."""
    if process.wait() != 0:
        raise RuntimeError(f"exit code {process.returncode}: ...{log.read_text(errors='replace')[-1500:]}")


def run(words: list[str], log: Path) -> float:
    """Seconds that a command takes."""
    tick = time.perf_counter()
    finish(start(words, log), log)
    return time.perf_counter() - tick


def _overrides(setting: Setting, task: str, folder: Path) -> list[str]:
    small = () if setting.full else TINY
    words = ["train", f"task={task}", *small, "data.synthetic.val=2", "trainer.num_workers=0", f"output_dir={folder}"]
    return [*words, f"trainer.device={setting.device.type}"]


def _repeatable(setting: Setting) -> dict:
    folders = [Path(setting.folder) / name for name in ("first", "second", "killed")]
    epochs = 6 if setting.full else 3
    extra = [f"trainer.epochs={epochs}", "trainer.deterministic=true", "trainer.validate_every=1"]
    extra += ["data.synthetic.train=24", "data.synthetic.size=256"] if setting.full else []
    logs = [folder.with_suffix(".log") for folder in folders]
    words = [command(*_overrides(setting, "cytoskeleton", folder), *extra) for folder in folders]
    processes = [start(word, log) for word, log in zip(words, logs, strict=True)] if setting.full else []
    if setting.full:
        killed = _kill_after_an_epoch(processes[2], folders[2])
        for process, log in zip(processes[:2], logs[:2], strict=True):
            finish(process, log)
    else:  # one after the other: a few cores; the second is left out
        killed = _kill_after_an_epoch(start(words[2], logs[2]), folders[2])
        run(words[0], logs[0])
    run(command("train", f"resume={folders[2]}"), logs[2])
    weights = [checkpoint.load(folder / "last.pth")["weights"] for folder in folders if folder.exists()]
    equal = [all(torch.equal(tensor, other[name]) for name, tensor in weights[0].items()) for other in weights[1:]]
    return {"ok": killed and all(equal), "killed while it ran": killed, "equal": equal, "runs": len(weights)}


def _kill_after_an_epoch(process: subprocess.Popen, folder: Path) -> bool:
    metrics = folder / "metrics.csv"
    while process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) > 1 and (folder / "last.pth").exists():
            process.kill()  # SIGKILL: nothing of its own can run any more
            process.wait()
            return True
        time.sleep(0.02)
    return False


def _train_both(setting: Setting) -> dict:
    tasks = ("vesicle", "cytoskeleton") if setting.full else ("vesicle",)
    seconds = round(min(60, max(20, 0.9 * setting.seconds - 60)))  # what comes before takes about 60
    limit = ["trainer.epochs=null", f"trainer.max_time=00:{seconds // 60:02d}:{seconds % 60:02d}"]
    limit += ["trainer.batch_size=16", "trainer.lr=0.003"]
    folders = {task: Path(setting.folder) / task for task in tasks}
    extra = [*limit, "trainer.validate_every=auto", "data.synthetic.train=48"] if setting.full else []
    logs = {task: folder.with_suffix(".log") for task, folder in folders.items()}
    running = {
        task: start(command(*_overrides(setting, task, folder), *extra), logs[task]) for task, folder in folders.items()
    }
    row: dict = {"ok": True, "limit s": seconds}
    for task, process in running.items():
        finish(process, logs[task])
        with (folders[task] / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        row[f"{task}: steps"] = int(last["step"])
        row[f"{task}: seconds"] = float(last["seconds"])
        row[f"{task}: loss"] = float(last["train_loss"])
        row[f"{task}: dice"] = checkpoint.load(folders[task] / f"best_{task}_model.pth")["metrics"]["dice"]
    return row


def _generate(setting: Setting, task: str) -> dict:
    count, size = (32, 512) if setting.full else (2, 64)
    taken = milliseconds(
        lambda: synthesis.render(task, range(count), size=size, seed=0, device=setting.device.type),
        setting.device,
        2.0 if setting.full else 0.01,
    )
    return {"images/s": 1e3 * count / taken}


def _model(setting: Setting) -> Path:
    """The model of the stage before, or one made quickly where there is none."""
    best = Path(setting.folder) / "vesicle" / "best_vesicle_model.pth"
    if not best.exists():
        folder = Path(setting.folder) / "short"
        best = folder / best.name
        if not best.exists():
            run(command(*_overrides(setting, "vesicle", folder), "trainer.epochs=1"), folder.with_suffix(".log"))
    return best


def _predict(setting: Setting) -> dict:
    model, side = _model(setting), 10_000 if setting.full else 100
    place = Path(setting.folder)
    images, _ = synthesis.render("vesicle", range(4), size=512 if setting.full else 64, seed=3)
    square = np.concatenate([np.asarray(image).squeeze() for image in images[:2]], axis=1)
    repeats = [-(-side // length) for length in square.shape]
    tifffile.imwrite(place / "large.tif", np.tile(square, repeats)[:side, :side].astype(np.float32))
    words = ["--model", str(model), "--input", str(place / "large.tif"), "--output", str(place / "predicted")]
    words += ["--save", "mask", "--overwrite", "--device", setting.device.type]
    seconds = run(command("predict", *words), place / "predict.log")
    written = any((place / "predicted" / f"large_mask.{ending}").exists() for ending in ("png", "tif"))
    return {"ok": written, "seconds": seconds, "megapixels/s, start included": side**2 / 1e6 / seconds}


def _evaluate(setting: Setting) -> dict:
    model, place = _model(setting), Path(setting.folder)
    if not (place / "scored").exists():
        size, count = ("512", "8") if setting.full else ("64", "2")
        words = ["synthesize", "vesicle", "--output", str(place / "scored"), "--train", "0", "--val", count]
        run(command(*words, "--size", size), place / "synthesize.log")
    words = ["--model", str(model), "--data", str(place / "scored"), "--output", str(place / "evaluated")]
    seconds = run(command("evaluate", *words, "--device", setting.device.type), place / "evaluate.log")
    return {"ok": (place / "evaluated").exists(), "seconds": seconds}
