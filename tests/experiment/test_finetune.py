"""Runs that end with the best of three candidates, killed half-way and resumed."""

import copy
import csv

import numpy as np
import pytest
import torch

import segexp
from segexp import checkpoint
from segexp.experiment import candidates, finetune
from segexp.experiment.run import run
from segexp.inference.misfit import KEY
from segexp.models import UNet
from segexp.sweep.weights import start_file
from tests.experiment.test_start import model_file
from tests.test_train import settings

TINY = [
    "task=vesicle",
    "task.crop=32",
    "data.synthetic.size=64",
    "trainer.num_workers=0",
    "trainer.precision=fp32",
    "trainer.epochs=null",
    "trainer.keep_given=true",
    "trainer.scratch=0.4",
    "model.shrink=1",
]


class Killed(Exception):
    """As a process that ends between two lines."""


@pytest.fixture
def killed_in_training(monkeypatch):
    """Makes `finetune.fit` count its calls, and fail at one of them."""
    monkeypatch.setattr(candidates, "LEAST_STEPS", 1)
    calls, rates, images, real = [], [], [], finetune.fit

    def arm(number):
        def counted(training, listener, schedule, **more):
            calls.append((training.best_path.name, training.state.step, schedule.budget.steps))
            rates.append((schedule.lr, training.learner.optimizer.param_groups[0]["lr"]))
            images.append([sample.name for sample in training.source.plan.samples])
            if len(calls) == number:
                raise Killed
            return real(training, listener, schedule, **more)

        for seen in (calls, rates, images):
            seen.clear()
        monkeypatch.setattr(finetune, "fit", counted)
        return calls, rates, images

    return arm


def given(tmp_path):
    torch.manual_seed(3)
    return model_file(tmp_path / "given.pth", UNet(widths=(4, 8)), threshold=0.4)


def test_few_images_are_cross_fitted_and_a_killed_run_goes_on_in_its_fold(tmp_path, capsys, killed_in_training):
    words = [*TINY, "data.synthetic.train=2", "data.synthetic.val=1", "trainer.cross_fit=8", "trainer.steps=24"]
    cfg = settings(*words, "trainer.lr=0.01", f"model.weights={given(tmp_path)}")
    calls, rates, images = killed_in_training(3)
    with pytest.raises(Killed):
        run(cfg, tmp_path / "run", weights=start_file(cfg))
    assert [steps for _, _, steps in calls] == [5, 5, 3]
    assert {len(each) for each in images[:2]} == {1, 2}
    assert not set(images[0]) & set(images[1])  # each fold trains on what the other one is scored on
    assert images[2] == images[0]
    assert rates == [(0.01, 0.01)] * 3
    assert len(list((tmp_path / "run").glob("fold_*.npz"))) == 2
    calls, _, _ = killed_in_training(0)
    score = run(cfg, tmp_path / "run", resume=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "comparing by cross-fitting: 3 images in 2 folds, 67 % of the run" in said
    assert "each scored by models that were trained on the others" in said
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    kept = content["start"]["kept"]
    assert len(calls) == 2 + (kept != "given")  # two folds from scratch, the final one
    assert kept == "given" or calls[-1][2] == 8
    assert set(content["start"]["scores"]) == {"given", "trained", "scratch"}
    assert content["start"]["scores"][kept] == max(content["start"]["scores"].values())
    assert content["metrics"]["dice"] == pytest.approx(score) == pytest.approx(content["start"]["scores"][kept])
    with (tmp_path / "run" / "val" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert not list((tmp_path / "run").glob("fold_*.npz"))
    assert (tmp_path / "run" / "report.html").is_file()
    assert segexp.load_model(tmp_path / "run", "cpu").threshold == (0.4 if kept == "given" else 0.5)
    assert KEY not in content  # three images are too few to say what others look like


def test_a_third_candidate_is_trained_from_scratch_and_a_killed_run_goes_on_with_it(
    tmp_path, capsys, killed_in_training
):
    words = [*TINY, "data.synthetic.train=2", "data.synthetic.val=3", "trainer.steps=5", "trainer.scratch_lr=0.02"]
    cfg = settings(*words, f"model.weights={given(tmp_path)}")
    calls, rates, _ = killed_in_training(2)
    with pytest.raises(Killed):
        run(cfg, tmp_path / "run", weights=start_file(cfg))
    assert rates == [(0.001, 0.001), (0.02, 0.02)]
    assert calls == [("best_vesicle_model.pth", 0, 3), ("scratch.pth", 0, 2)]
    calls, _, _ = killed_in_training(0)
    run(cfg, tmp_path / "run", resume=True)
    assert calls == [("best_vesicle_model.pth", 3, 3), ("scratch.pth", 0, 2)]
    said = " ".join(capsys.readouterr().out.split())
    assert "over 3 validation images" in said
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    assert set(content["start"]["scores"]) == {"given", "trained", "scratch"}
    trained = checkpoint.load(tmp_path / "run" / "last.pth")
    calls, _, _ = killed_in_training(0)
    longer = settings(*words, f"model.weights={given(tmp_path)}", "trainer.steps=10")
    run(longer, tmp_path / "run", resume=True)
    assert calls == [("best_vesicle_model.pth", 3, 6), ("scratch.pth", 2, 4)]  # both go on from where they were
    assert trained["best_model"]["weights"].keys() == content["weights"].keys()


@pytest.mark.parametrize("change", ["seed=1", "loss.dice.weight=0.25"])
def test_a_run_resumed_with_other_settings_trains_its_folds_again(tmp_path, killed_in_training, change):
    write_images(tmp_path / "data", 5)
    words = [word for word in TINY if not word.startswith(("data.", "trainer.scratch="))]
    words += ["trainer.cross_fit=8", "trainer.steps=12", f"data.root={tmp_path / 'data'}"]
    words += ["trainer.scratch=0", f"model.weights={given(tmp_path)}"]
    cfg = settings(*words)
    killed_in_training(2)
    with pytest.raises(Killed):
        run(cfg, tmp_path / "run", weights=start_file(cfg))
    calls, _, images = killed_in_training(2)
    with pytest.raises(Killed):
        run(settings(*words, change), tmp_path / "run", resume=True)
    assert [name for name, *_ in calls] == ["best.pth", "best.pth"]
    assert sorted(images[0] + images[1]) == [f"{number}.npy" for number in range(5)]


@pytest.mark.parametrize(
    ("known", "said", "trained"),
    [(0.0, "no training from scratch", "trained"), (1.1, "the given model does not know these objects", "scratch")],
)
def test_too_short_a_run_trains_one_candidate_and_few_images_need_no_validation_folder(
    tmp_path, capsys, monkeypatch, known, said, trained
):
    monkeypatch.setattr(candidates, "KNOWN", known)
    monkeypatch.setattr(candidates, "MARGIN", -1)  # the trained one is kept
    ends, starts, real = [], [], finetune.fit

    def recorded(training, *more, **options):
        starts.append(copy.deepcopy(training.predictor.model.state_dict()))
        real(training, *more, **options)
        ends.append(copy.deepcopy(training.predictor.model.state_dict()))

    monkeypatch.setattr(finetune, "fit", recorded)
    data = tmp_path / "data"
    write_images(data, 1)
    words = [word for word in TINY if not word.startswith("data.")]
    cfg = settings(
        *words,
        "trainer.cross_fit=8",
        "trainer.steps=8",
        f"data.root={data}",
        f"model.weights={given(tmp_path)}",
    )
    run(cfg, tmp_path / "run", weights=start_file(cfg))
    printed = " ".join(capsys.readouterr().out.split())
    assert "no val/ folder" in printed
    assert "2 halves of 1 image" in printed
    assert said in printed
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    assert set(content["start"]["scores"]) == {"given", trained}
    assert content["start"]["kept"] == trained
    assert len(starts) == 3  # two folds and the final training, which continues the first fold
    assert all(torch.equal(starts[2][name], value) for name, value in ends[0].items())
    assert not all(torch.equal(starts[1][name], value) for name, value in ends[0].items())


def write_images(data, count):
    for kind in ("img", "mask"):
        (data / "train" / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:50, 20:44] = 1
        np.save(data / "train" / "mask" / f"{number}.npy", mask)
        np.save(data / "train" / "img" / f"{number}.npy", (rng.integers(0, 50, (64, 64)) + 100 * mask).astype(np.uint8))
