"""What is trained, put together from settings as a run does."""

import io

import torch
from rich.console import Console

from segexp.config.compose import compose_config
from segexp.distributed import ALONE
from segexp.experiment.network import schedule_of
from segexp.experiment.run import assemble
from segexp.training.loggers.run_log import RunLog
from segexp.training.loop import fit
from segexp.training.stop import StopRequest

TINY = [
    "task=vesicle",
    "data.synthetic.train=2",
    "data.synthetic.val=1",
    "data.synthetic.size=128",
    "model.widths=[4,8]",
    "task.crop=128",
    "trainer.batch_size=2",
    "trainer.precision=fp32",
    "trainer.epochs=null",
    "trainer.num_workers=0",
    "output_dir=x",
]


def test_growing_crops_reach_the_network(tmp_path):
    cfg = compose_config([*TINY, "trainer.grow_crops=0.5", "trainer.steps=8"])
    with RunLog(tmp_path, cfg.task.monitor, Console(file=io.StringIO())) as log:
        training = assemble(cfg, tmp_path, ALONE, StopRequest(), log, resume=False)
        shapes = []
        training.learner.model.register_forward_pre_hook(
            lambda model, images: shapes.append(images[0].shape) if model.training else None
        )
        fit(training, log, schedule_of(cfg, training))
    assert training.state.step == 8
    assert shapes == [torch.Size([2, 1, side, side]) for side in [64] * 2 + [96] * 2 + [128] * 4]
