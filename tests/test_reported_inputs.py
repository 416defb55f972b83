"""Inputs that users of other programs had trouble with, each built by a script outside the repository.

The scripts lie in a folder ``shared/cases`` beside the checkout, or where SEGEXP_CASES says; without it they skip.
Each test runs the commands that its script's first lines name, as real processes, and looks at what they leave behind.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segexp import read_image
from tests.processes import start

CASES = Path(os.environ.get("SEGEXP_CASES", Path(__file__).parents[2] / "shared" / "cases"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there; SEGEXP_CASES names another place"),
]
TINY = ["model.widths=[4,8]", "task.crop=32", "trainer.num_workers=0"]
SMOKE = ["task=vesicle", "trainer=smoke", *TINY]


@pytest.fixture
def case(tmp_path, request):
    """The folder in which the script of the test's name built its input, as `out`."""
    number = request.node.name.split("_")[1]
    (script,) = CASES.glob(f"{number}_*.py")
    subprocess.run([sys.executable, str(script), str(tmp_path / "out")], check=True, capture_output=True)
    return tmp_path / "out"


def run(*arguments, cwd=None, timeout=240, **environment):
    """`segexp` with these arguments as a process of its own; exit code and everything it printed."""
    done = start("segexp", *arguments, cwd=cwd, **{"COLUMNS": "300", **environment}).ended(timeout)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return done.returncode, " ".join(text.split())


def works(*arguments, **more):
    code, text = run(*arguments, **more)
    assert code == 0, text
    return text


def fails(*arguments, **more):
    code, text = run(*arguments, **more)
    assert code == 1, (code, text)
    return text


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_h01_masks_that_were_jpeg_or_resized(case):
    hard = works("train", *SMOKE, "trainer.steps=1", f"data.root={case / 'hard'}", f"output_dir={case / 'run_hard'}")
    share = _share_of_foreground(hard)
    for name in ("jpeg", "smooth"):
        code, text = run("check", case / name)
        assert code == 1, text
        assert "these are not object ids" in text, text
        code, text = run(
            "train", *SMOKE, "trainer.steps=1", f"data.root={case / name}", f"output_dir={case / f'run_{name}'}"
        )
        if code:
            assert "128" in text, text
        else:
            assert abs(_share_of_foreground(text) - share) <= 0.5
            assert "128" in text, text


def _share_of_foreground(text):
    """Percent of foreground of the training images, in the run's own line."""
    found = re.search(r"train: .*?foreground ([\d.]+) %", text)
    assert found, text
    return float(found[1])


def test_h02_one_prefix_or_suffix_between_image_and_mask(case):
    for folder in sorted(case.iterdir()):
        code, text = run("check", folder)
        assert code == 0, (folder.name, text)


def test_h03_folders_with_letters_that_hydra_does_not_take(case):
    for folder in sorted(case.iterdir()):
        name = folder.name
        works("train", *SMOKE, "trainer.steps=1", f"data.root={name}", f"output_dir=run_{name}", cwd=case)
        assert (case / f"run_{name}" / "best_vesicle_model.pth").is_file()


def test_h04_tilde_behind_an_equals_sign(case):
    home = str(case / "home")
    for quote, name in (("", "x"), ('"', "y"), ("'", "z")):
        data, output = f"data.root={quote}~/cells{quote}", f"output_dir={quote}~/runs/{name}{quote}"
        works("train", *SMOKE, "trainer.steps=1", data, output, cwd=case, HOME=home)
        assert (case / "home" / "runs" / name / "best_vesicle_model.pth").is_file()
    assert not (case / "~").exists()


def test_h06_equal_names_predicted_into_one_folder(case):
    def predict(day, folder):
        return run("predict", "--model", "vesicle", "--input", case / day, "--output", case / folder)

    assert predict("day1", "masks")[0] == 0
    before = digest(case / "masks" / "img_001_mask.png")
    code, text = predict("day2", "masks")
    assert code == 1, text
    assert digest(case / "masks" / "img_001_mask.png") == before
    assert predict("day1", "masks")[0] == 0
    assert predict("day1", "alone")[0] == 0
    assert digest(case / "masks" / "img_001_mask.png") == digest(case / "alone" / "img_001_mask.png")


def test_h08_the_same_folder_twice(case):
    command = ("train", *SMOKE, f"data.root={case / 'set'}", f"output_dir={case / 'run'}")
    works(*command)
    before = {path: digest(path) for path in (case / "run").rglob("*") if path.is_file()}
    text = fails(*command, "seed=1")
    assert "resume=" in text
    assert "overwrite=true" in text
    assert {path: digest(path) for path in (case / "run").rglob("*") if path.is_file()} == before
    model = before[case / "run" / "best_vesicle_model.pth"]
    works(*command, "seed=1", "overwrite=true")
    assert model in {digest(path) for path in (case / "run").rglob("*.pth")}


def test_h09_another_batch_size_on_resume(case):
    works("train", *SMOKE, f"data.root={case / 'set'}", f"output_dir={case / 'run'}", "trainer.batch_size=2")
    code, text = run("train", f"resume={case / 'run'}", "trainer.epochs=3", "trainer.batch_size=4")
    with (case / "run" / "metrics.csv").open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert code == 0, text
    assert epochs[-1] == "3" or "nothing is left to train" in text, (epochs, text)


def test_h10_a_class_that_no_validation_mask_has(case):
    works(
        "train", *SMOKE, "trainer.steps=2", "task.classes=[a,b,c]", f"data.root={case / 'set'}",
        f"output_dir={case / 'run'}",
    )  # fmt: skip
    with (case / "run" / "val" / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "c"]
    assert rows
    assert {row["dice"] for row in rows} == {""}


def test_h12_which_channel_prediction_takes(case):
    one = ("--model", "vesicle", "--input", case / "one", "--output", case / "b")
    works("predict", *one)
    works("predict", "--model", "vesicle", "--input", case / "two", "--output", case / "a", "--channel", "2")
    for name in ("f1", "f2"):
        both = [read_image(case / folder / f"{name}_mask.png") for folder in "ab"]
        assert np.array_equal(*both)
    works(
        "train", *SMOKE, "trainer.steps=2", "data.channel=2", f"data.root={case / 'set2'}", f"output_dir={case / 'run'}"
    )
    _, text = run("predict", "--model", case / "run", "--input", case / "one", "--output", case / "c")
    assert "data.channel" not in text, text
    works("evaluate", "--model", "vesicle", "--data", case / "set2", "--output", case / "e", "--channel", "2")


def test_h13_flags_in_any_order(case):
    assert "UNet" in works("train", "model=unet", "--cfg", "job")
    assert "trainer" in works("train", "trainer=quick", "--help")
    data = f"data.root={case / 'set'}"
    works("train", *SMOKE, "-m", data, "trainer.steps=1,2", f"output_dir={case / 'sweep'}")
    assert (case / "sweep" / "1" / "best_vesicle_model.pth").is_file()
    works("train", "--config-dir", case / "lab", "experiment=ours", *TINY, data, f"output_dir={case / 'run'}")
    works("train", "--config-dir", case / "lab", f"resume={case / 'run'}", "trainer.steps=3")
    assert "steps: 4" in works("train", "--cfg", "job", f"resume={case / 'sweep' / '1'}", "trainer.steps=4")


def test_h14_a_folder_of_ones_own_settings(case):
    lab, data = ("--config-dir", case / "lab"), f"data.root={case / 'set'}"
    works(
        "train", *lab, "task=nucleus", "augment=mine", data, "trainer=smoke", "trainer.steps=2", *TINY,
        f"output_dir={case / 'run'}",
    )  # fmt: skip
    works("preview", *lab, "task=nucleus", "augment=mine", data, "--output", case / "p.png")
    works("check", case / "set", *lab, "task=nucleus")
    works("sweep-plan", *lab, "task=nucleus", data, *TINY, "trainer=smoke", "trainer.lr=1e-3,1e-4", "--steps", "2")
    code, text = run("train", f"resume={case / 'run'}", "trainer.steps=3")
    assert code == 0 or "--config-dir" in text, text


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small /dev/shm, which takes root")
def test_h16_a_small_shared_memory(case):
    command = [
        sys.executable, "-m", "segexp.cli", "train", "task=vesicle", f"data.root={case / 'set'}", "trainer=smoke",
        "trainer.steps=1", "trainer.batch_size=32", "task.crop=512", "data.cache=disk", "trainer.num_workers=2",
        "model.widths=[2,4]", f"output_dir={case / 'run'}",
    ]  # fmt: skip
    script = f"mount -t tmpfs -o size=16m tmpfs /dev/shm && exec {' '.join(command)}"
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("unshare is not permitted here")
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=400)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert "/dev/shm" in text, text
    assert not re.search(r"c\d\.tif: (cannot|damaged|not)", text), text


def test_h17_a_full_alpha_channel_changes_no_fact(case):
    grey, rgba = (works("check", case / name).split("intensity:")[1].split("read in")[0] for name in ("grey", "rgba"))
    assert "at the camera's limit 0 % 0 %" in rgba, rgba
    assert rgba.replace("rgba", "grey") == grey


def test_h18_names_that_a_log_cannot_encode(case):
    data = case / "set"
    code = {"PYTHONIOENCODING": "cp1252"}
    works("predict", "--model", "vesicle", "--input", data / "train" / "img", "--output", case / "masks", **code)
    works("check", data, **code)
    works("train", *SMOKE, "trainer.steps=1", f"data.root={data}", f"output_dir={case / 'run'}", **code)


def test_h20_files_of_microscopes_are_named(case):
    _, text = run("predict", "--model", "vesicle", "--input", case / "mixed", "--output", case / "masks")
    assert "czi" in text, text
    assert "Fiji" in text, text
    assert (case / "masks" / "ok_mask.png").is_file()
    text = fails("check", case / "set")
    assert "c0.czi" in text, text


def test_h21_working_in_the_run_folder(case):
    code, text = run(
        "train", *SMOKE, "trainer.steps=2", "data.root=set", "hydra.job.chdir=true", "output_dir=run", cwd=case
    )
    assert code == 0 or "chdir" in text, text
    if code == 0:
        assert (case / "run" / "best_vesicle_model.pth").is_file()


def test_h23_one_small_crop_a_batch(case):
    common = ("train", "task=vesicle", f"data.root={case / 'set'}", "trainer=smoke", "trainer.steps=2")
    for more in (["trainer.batch_size=1"], ["trainer.batch_size=2", "trainer.micro_batch=1"]):
        code, text = run(*common, *more, f"output_dir={case / more[-1].replace('.', '_')}")
        assert code == 0 or "task.crop" in text or "batch_size" in text, text


def test_h25_a_mask_in_every_plane_and_a_projection(case):
    code, text = run(
        "train", *SMOKE, f"data.root={case / 'set'}", "data.val_fraction=0.3", "data.page=max", "trainer.steps=1",
        f"output_dir={case / 'run'}",
    )  # fmt: skip
    assert code == 0 or ("one mask" in text and "data.page=max" not in text.split("one mask")[1]), text


def test_h26_background_is_no_class(case):
    text = fails(
        "train", *SMOKE, f"data.root={case / 'set'}", "task.classes=[background,vesicle]", "trainer.steps=2",
        f"output_dir={case / 'run'}",
    )  # fmt: skip
    assert "task.classes=[vesicle]" in text, text


def test_h27_annotation_of_other_programs_is_named(case):
    for folder in sorted(case.iterdir()):
        text = fails("check", folder)
        assert "segexp masks" in text, (folder.name, text)


def test_h28_an_experiment_with_a_plus(case):
    works(
        "train", "+experiment=vesicle_quick", "trainer=smoke", "trainer.steps=2", *TINY, "data.synthetic.train=2",
        "data.synthetic.val=1", f"output_dir={case / 'run'}",
    )  # fmt: skip


def test_h30_an_output_below_a_file(case):
    text = fails(
        "train", *SMOKE, f"data.root={case / 'set'}", "trainer.steps=1", f"output_dir={case / 'afile' / 'run'}"
    )
    assert "afile" in text
    images = case / "set" / "val" / "img"
    assert "afile" in fails("predict", "--model", "vesicle", "--input", images, "--output", case / "afile" / "run")


def test_h31_a_shared_aperture_is_no_copy(case):
    code, text = run("check", case)
    assert code == 0, text
    assert "also in the training images" not in text, text
    assert "near-duplicate" not in text, text
    _, text = run("check", Path(f"{case}_copy"))
    assert "copy_0" in text, text
    assert "copy_1" in text, text


def test_p02_masks_as_other_programs_leave_them(case):
    for folder in sorted(case.iterdir()):
        assert "no faults" in works("check", folder), folder.name


@pytest.mark.long
def test_p03_a_thousandth_of_foreground(case):
    text = works(
        "train", "task=vesicle", f"data.root={case / 'set'}", "trainer=quick", "trainer.max_time=00:00:45",
        f"output_dir={case / 'run'}",
    )  # fmt: skip
    assert json.loads((case / "run" / "summary.json").read_text())["best"]["dice"] > 0.8, text


def test_p05_images_of_one_row(case):
    works("predict", "--model", "vesicle", "--input", case / "img", "--output", case / "masks", "--save", "all")
    images = sorted((case / "img").iterdir())
    assert len(images) == 5
    for path in images:
        assert read_image(case / "masks" / f"{path.stem}_mask.png").shape == read_image(path).shape[:2]


def test_p07_copies_and_swapped_masks_are_found(case):
    _, text = run("check", case / "copy")
    assert "4 validation images also in the training images" in text, text
    assert "swapped" in fails("check", case / "swapped")


def test_p08_the_same_scene_in_other_types(case):
    text = works("predict", "--model", "vesicle", "--input", case / "img", "--output", case / "masks")
    shares = [np.mean(read_image(path) > 0) for path in (case / "masks").glob("*_mask.png")]
    assert len(shares) > 2, text
    assert max(shares) - min(shares) <= 0.001


def test_p09_an_image_with_nan_is_refused_alone(case):
    text = fails("predict", "--model", "vesicle", "--input", case / "img", "--output", case / "masks")
    assert "NaN" in text or "nan" in text, text
    assert len(list((case / "masks").glob("*_mask.png"))) == len(list((case / "img").iterdir())) - 1


def test_p10_model_files_of_other_programs(case):
    for model in sorted(case.glob("*.p*")):
        images = case / "set" / "val" / "img"
        text = fails("predict", "--model", model, "--input", images, "--output", case / "masks")
        assert model.name in text
        assert "weights_only" not in text, text
    assert not (case / "masks").exists()


def test_p11_interrupted_and_resumed(case):
    words = ["task=vesicle", *TINY, f"data.root={case / 'set'}", "trainer.epochs=20000", f"output_dir={case / 'run'}"]
    process = start("segexp", "train", *words)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (case / "run" / "metrics.csv").exists():
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    done = process.ended()
    text = done.stdout + done.stderr
    assert done.returncode == 130, text
    assert "the state is saved" in text
    with (case / "run" / "metrics.csv").open(newline="") as file:
        last = int(list(csv.DictReader(file))[-1]["epoch"])
    text = works("train", f"resume={case / 'run'}", f"trainer.epochs={last + 2}")
    assert f"resumed after epoch {last}" in text, text


def test_p12_images_read_by_spawned_workers_from_a_read_only_folder(case):
    for path in sorted((case / "set").rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for method in ("spawn", "forkserver"):
        works(
            "train", *SMOKE[:-1], "trainer.steps=3", "data.cache=disk", "trainer.num_workers=2",
            f"trainer.start_method={method}", f"data.root={case / 'set'}", f"output_dir={case / method}",
        )  # fmt: skip
    for path in (case / "set").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(case / "set")
