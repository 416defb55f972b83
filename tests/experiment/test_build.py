"""Parts of a run that are computed from its settings."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from segexp.augment import Augmentation
from segexp.config import conf_dir, read
from segexp.data.dataset import make_sample
from segexp.distributed import ALONE
from segexp.errors import InputError
from segexp.evaluation.scoring import Scoring, Tolerance
from segexp.experiment import build
from segexp.experiment.build import choose_cuda_graph, rehearse, size_for_batch_norm, total_steps
from segexp.inference.predictor import Predictor
from segexp.losses import SegmentationLoss
from segexp.models import UNet
from segexp.training.learner import Learner


def test_the_smaller_limit_counts():
    assert total_steps(None, None, 10) is None
    assert total_steps(5, None, 10) == 5
    assert total_steps(None, 3, 10) == 30
    assert total_steps(50, 3, 10) == 30


@pytest.mark.parametrize(
    ("batch", "micro", "size", "wanted"),
    [(1, None, 4, 8), (2, 1, 4, 8), (3, 2, 4, 8), (2, None, 4, 4), (4, 2, 4, 4), (1, None, 8, 8), (1, 5, 4, 8)],
)
def test_crops_grow_only_where_a_batch_norm_would_see_one_value(batch, micro, size, wanted):
    model = UNet(1, 1, widths=(2, 4, 8))
    assert model.multiple == 4
    assert size_for_batch_norm(model, size, batch, micro) == wanted
    assert size_for_batch_norm(UNet(1, 1, widths=(2, 4, 8), norm="group"), size, batch, micro) == size
    model(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        model(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("setting", "device", "optimizer", "recorded", "words"),
    [
        ("auto", "cuda", torch.optim.AdamW, True, "recorded as a CUDA graph and replayed"),
        ("always", "cuda", torch.optim.AdamW, True, "recorded as a CUDA graph and replayed"),
        ("auto", "cuda", torch.optim.RMSprop, False, "the optimiser is RMSprop"),
        ("never", "cuda", torch.optim.AdamW, False, ""),
        ("auto", "cpu", torch.optim.AdamW, False, ""),
    ],
)
def test_whether_steps_are_recorded_is_said(setting, device, optimizer, recorded, words):
    chosen, line = choose_cuda_graph(trainer(setting), learner_on(device, optimizer), Augmentation(), ALONE)
    assert chosen == recorded
    assert (words in line) if words else line == ""


def test_a_recording_that_is_asked_for_and_cannot_be_is_refused():
    with pytest.raises(InputError, match="cuda_graph=always: the device is cpu; expected auto or never"):
        choose_cuda_graph(trainer("always"), learner_on("cpu", torch.optim.AdamW), Augmentation(), ALONE)


def trainer(setting):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(compose("config", ["task=vesicle", "output_dir=none", f"trainer.cuda_graph={setting}"])).trainer


def learner_on(device, optimizer):
    model = UNet(1, 1, widths=(4, 8))
    options = {"fused": True} if optimizer is torch.optim.AdamW else {}
    made = Learner(model, SegmentationLoss(), optimizer(model.parameters(), 0.01, **options), "fp32", 1.0)
    made.device = torch.device(device)  # a name: nothing runs there
    return made


def test_what_would_fail_after_the_training_fails_before_it():
    sample = make_sample("a.png", np.zeros((1, 16, 16), np.uint8), np.eye(16, dtype=np.uint8), 1)
    predictor = Predictor(UNet(1, 1, widths=(2, 4)), "standard", ["spot"])
    with pytest.raises(InputError, match=r"a\.png does not state its pixel size"):
        rehearse(predictor, [sample], Scoring(tolerance=Tolerance(0.2, "µm")))
    assert rehearse(predictor, [sample], Scoring()) > 0


SIDES = {"a": 16, "b": 32, "c": 64}


def test_what_is_loaded_once_does_not_count_for_every_validation(monkeypatch):
    clock, seen = [100.0], []

    def evaluate(predictor, samples, scoring):
        clock[0] += 7.0 if not seen else 0.5  # seconds: kernels are chosen with the first image
        seen.append([sample.name for sample in samples])
        return []

    monkeypatch.setattr(build, "evaluate", evaluate)
    monkeypatch.setattr(build, "summarize", lambda scores: None)
    monkeypatch.setattr(build.time, "monotonic", lambda: clock[0])
    samples = [
        make_sample(name, np.zeros((1, side, 16)), np.zeros((side, 16), np.uint8), 1) for name, side in SIDES.items()
    ]
    assert rehearse(None, samples, Scoring()) == pytest.approx(0.5 * (16 + 32 + 64) / 32)
    assert seen == [["a"], ["b"]]
    seen.clear()
    assert rehearse(None, samples[:1], Scoring()) == 7
