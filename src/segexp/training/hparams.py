"""TensorBoard's HParams tab: a run's settings from its start, the scores to compare, and how it ended.

Written at the start, so that runs that go on, were stopped or given up are in the table too, with the scores they have.
The tab takes its columns from the first run that it finds; the jobs of a sweep all have the same ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch.utils.tensorboard.summary import hparams

SHOWN = ("dice", "dice_pooled", "iou", "precision", "recall", "cldice", "object_f1")
"""Scores of the best model that are columns, where the task has them."""


def columns(monitor: str) -> list[str]:
    """Names of the metrics in the tab: the best model's scores, and the monitored one of the last validation."""
    return [*dict.fromkeys([f"best/{monitor}", *(f"best/{name}" for name in SHOWN)]), f"val/{monitor}"]


def start(settings: Mapping[str, Any], metrics: Sequence[str]) -> list[Summary]:
    """What opens a run in the tab; settings that are no number, text or truth value are shown as text."""
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }
    experiment, session, _ = hparams(plain, dict.fromkeys(metrics, 0.0))
    return [experiment, session]


def end(whole: bool) -> Summary:
    """What closes it."""
    status = Status.Value("STATUS_SUCCESS" if whole else "STATUS_FAILURE")
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status), version=0).SerializeToString()
    data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content)
    return Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=SummaryMetadata(plugin_data=data))])
