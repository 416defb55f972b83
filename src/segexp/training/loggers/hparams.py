"""TensorBoard's HParams tab: a run's settings from its start, the scores to compare, and how it ended.

Written at the start, so that running, stopped and pruned runs are in the table too, with the scores they have. The tab
takes its columns from the first run that it finds; all jobs of a sweep have the same columns.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, PLUGIN_NAME, SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch.utils.tensorboard.summary import hparams

from segexp.metrics.registry import shown


def columns(monitor: str) -> list[str]:
    """Names of the metrics in the tab: the best model's scores, and the monitored one of the last validation."""
    return [*dict.fromkeys([f"best/{monitor}", *(f"best/{name}" for name in shown("summary"))]), f"val/{monitor}"]


def start(settings: Mapping[str, Any], metrics: Sequence[str], varied: Collection[str] = ()) -> list[Summary]:
    """The record that opens a run in the tab; settings other than numbers, texts and booleans are shown as text.

    TensorBoard shows five settings until more are ticked, beginning with those marked as different: `varied`.
    """
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }
    _, session, _ = hparams(values, {})
    content = HParamsPluginData(
        experiment=Experiment(
            hparam_infos=[
                HParamInfo(name=name, type=_type(values[name]), differs=name in varied)
                for name in sorted(values, key=lambda name: name not in varied)
            ],
            metric_infos=[MetricInfo(name=MetricName(tag=tag)) for tag in metrics],
        ),
        version=0,
    )
    return [_summary(EXPERIMENT_TAG, content), session]


def _type(value: float | str) -> Any:
    kinds = {bool: "DATA_TYPE_BOOL", int: "DATA_TYPE_FLOAT64", float: "DATA_TYPE_FLOAT64", str: "DATA_TYPE_STRING"}
    return DataType.Value(kinds[type(value)])


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data))])


def end(whole: bool) -> Summary:
    """The record that closes a run in the tab."""
    status = Status.Value("STATUS_SUCCESS" if whole else "STATUS_FAILURE")
    return _summary(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=SessionEndInfo(status=status), version=0))
