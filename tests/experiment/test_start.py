"""Runs that start from a finished model: what is taken, what is said, what is refused."""

import json

import pytest
import torch
from torch import nn

import segexp
from segexp import checkpoint
from segexp.errors import InputError
from segexp.experiment.run import run
from segexp.experiment.start import (
    Started,
    as_it_was,
    freeze,
    log_table,
    parameter_groups,
    read_start,
    take_settings,
    take_weights,
)
from segexp.io.ownership import digest
from segexp.models import External, UNet
from segexp.sweep.weights import start_file
from tests.models.test_external import HERE as EXTERNAL
from tests.test_train import settings

SMALL = [
    "task=vesicle",
    "task.crop=32",
    "data.synthetic.train=2",
    "data.synthetic.val=2",
    "data.synthetic.size=48",
    "trainer.num_workers=0",
    "model.shrink=1",
]


def model_file(path, network=None, **facts):
    torch.manual_seed(3)
    network = network or UNet(widths=(4, 8))
    named = {"name": type(network).__name__, "settings": network.settings}
    known = {"normalization": "log", "classes": ["vesicle"], "threshold": 0.5, "task": "vesicle", "run": "abc"}
    checkpoint.save(path, known | {"model": named, "weights": network.state_dict()} | facts)
    return path


def start(path):
    return read_start(str(path), path)


def moved(network):
    """Its weights, all different from what a new network has."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if "running" in name:
                buffer.add_(1)
    return network


def test_the_same_network_is_taken_whole(tmp_path):
    given = moved(UNet(widths=(4, 8)))
    network = UNet(widths=(4, 8))
    rows = take_weights(network, start(model_file(tmp_path / "m.pth", given)), ["vesicle"])
    assert all(
        torch.equal(a, b) for a, b in zip(given.state_dict().values(), network.state_dict().values(), strict=True)
    )
    count = len(network.state_dict())
    assert [row[3] for row in rows] == [f"{count} of {count} tensors as they are"]


@pytest.mark.parametrize(("before", "now"), [(1, 3), (3, 1), (2, 4)])
def test_other_channels_answer_alike_where_the_channels_are_equal(tmp_path, before, now):
    given = moved(UNet(before, widths=(4, 8), shrink=2)).eval()
    network = UNet(now, widths=(4, 8), shrink=2)
    rows = take_weights(network, start(model_file(tmp_path / "m.pth", given)), ["vesicle"])
    image = torch.rand(1, 1, 16, 16, dtype=torch.float64)  # double, since the channels are added in another order
    answer = network.double().eval()(image.expand(1, now, 16, 16))
    expected = given.double()(image.expand(1, before, 16, 16))
    torch.testing.assert_close(answer, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
    assert rows[1][:3] == ("channels", str(before), str(now))
    assert "stem.0.weight, refine.look.0.weight" in rows[1][3]
    assert ("repeated" in rows[1][3]) == (now > 1)


def test_classes_of_the_same_name_keep_their_output_and_new_ones_start_at_the_prior(tmp_path):
    given = moved(UNet(1, 2, widths=(4, 8)))
    network = UNet(1, 3, widths=(4, 8))
    with torch.no_grad():
        network.head.bias.fill_(-2.5)
    file = model_file(tmp_path / "m.pth", given, classes=["a", "b"])
    rows = take_weights(network, start(file), ["b", "c", "a"])
    assert torch.equal(network.head.weight[[2, 0]], given.head.weight)
    assert torch.equal(network.head.bias, torch.stack([given.head.bias[1], torch.tensor(-2.5), given.head.bias[0]]))
    assert rows[-1] == ("classes", "a, b", "b, c, a", rows[-1][3])
    assert "new output for c" in rows[-1][3]
    other = UNet(1, 1, widths=(4, 8))
    take_weights(other, start(model_file(tmp_path / "one.pth", UNet(widths=(4, 8)))), ["nucleus"])
    single = checkpoint.load(tmp_path / "one.pth")["weights"]
    assert torch.equal(other.head.weight, single["head.weight"])  # the only class of both


def test_another_network_is_refused_with_what_to_type(tmp_path):
    file = start(model_file(tmp_path / "m.pth", UNet(widths=(4, 8), norm="group")))
    with pytest.raises(InputError, match=r"type model\.widths=\[4,8\] model\.norm=group$"):
        take_weights(UNet(widths=(4, 8, 16)), file, ["vesicle"])
    foreign = External(1, 1, f"{EXTERNAL}.Plain", 4, allowed=[EXTERNAL])
    with pytest.raises(InputError, match="Type model=unet_fast"):
        take_weights(foreign, file, ["vesicle"])


def test_a_network_of_another_package_starts_from_its_like_and_nothing_is_imported_for_it(tmp_path):
    given = moved(External(1, 1, f"{EXTERNAL}.Plain", 4, allowed=[EXTERNAL]))
    file = model_file(tmp_path / "m.pth", given)
    network = External(3, 2, f"{EXTERNAL}.Plain", 4, allowed=[EXTERNAL])
    before = network.network.up.weight.detach().clone()
    rows = take_weights(network, start(file), ["vesicle", "other"])
    assert torch.allclose(network.network.down.weight, given.network.down.weight.expand(-1, 3, -1, -1) / 3)
    assert torch.equal(network.network.up.weight, before)
    assert network.prior[0] == given.prior[0]
    assert network.prior[1] == 0
    assert rows[-1][:2] == ("tensors", "no such shape")
    assert "network.up.weight" in rows[-1][3]
    two = model_file(tmp_path / "two.pth", network, classes=["vesicle", "other"])
    take_weights(network, start(two), ["vesicle", "other"])
    for classes in (["other", "vesicle"], ["vesicle", "third"]):
        with pytest.raises(InputError, match=r"task\.classes=\[vesicle,other\]"):
            take_weights(network, start(two), classes)
    content = checkpoint.load(file)
    content["model"]["settings"]["network"] = "not.installed.Network"
    checkpoint.save(file, content)
    with pytest.raises(InputError, match=r"type model\.network=not\.installed\.Network"):
        take_weights(network, start(file), ["vesicle", "other"])


def test_what_the_network_sees_is_the_models_unless_typed(tmp_path):
    reading = {"page": 2, "channel": [1, 3], "masks": "instances", "ignore": 7, "mask_threshold": None}
    facts = {"normalization": "standard", "pixel_size": 0.25, "reading": reading}
    file = start(model_file(tmp_path / "m.pth", UNet(2, widths=(4, 8)), **facts))
    cfg, taken, rows = take_settings(settings("task=vesicle"), file, [])
    assert (cfg.task.normalization, cfg.task.pixel_size, cfg.data.channels) == ("standard", 0.25, 2)
    assert (cfg.data.page_choice(), cfg.data.channel_numbers()) == (2, (1, 3))
    assert (cfg.task.masks, cfg.task.ignore) == ("auto", None)  # how masks are stored is the data's
    assert set(taken) == {row[0] for row in rows}
    typed = ["task.normalization=log", "task.pixel_size=null", "data.channels=1"]
    cfg, taken, rows = take_settings(settings("task=vesicle", *typed), file, typed)
    assert (cfg.task.normalization, cfg.task.pixel_size, cfg.data.channels) == ("log", None, 1)
    assert set(taken) == {"data.page", "data.channel"}
    assert rows[0] == ("task.normalization", "standard", "log", "log, as typed; the model learned standard")


def test_the_table_is_aligned():
    lines = []
    log_table([("network", "UNet", "UNet", "all"), ("x", "a much longer cell", "b", "c")], lines.append)
    assert lines[1].index("all") == lines[2].rindex("c") == lines[0].index("taken")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing.pth", "no such file"),
        (lambda folder: folder, "holds no best_<task>_model.pth"),
        (lambda folder: _written(folder / "x.pth", b"hello"), "not a segexp model file"),
        (lambda folder: _saved(folder / "x.pth", {"weights": {}}), "holds no model"),
    ],
    ids=["missing", "folder", "text", "no model"],
)
def test_what_is_no_model_is_one_message(tmp_path, make, words):
    path = make(tmp_path)
    cfg = settings(*SMALL, f"model.weights={path}")
    with pytest.raises(InputError, match=words) as caught:
        read_start(str(path), start_file(cfg))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"model.weights={path}: ")


def _written(path, content):
    path.write_bytes(content)
    return path


def _saved(path, content):
    checkpoint.save(path, content)
    return path


def test_weights_with_nan_are_refused(tmp_path):
    network = UNet(widths=(4, 8))
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(InputError, match=r"head\.bias holds NaN"):
        start(model_file(tmp_path / "m.pth", network))


def test_frozen_parts_stay_as_they_are_running_statistics_too():
    network = UNet(widths=(4, 8))
    count = freeze(network, ["stem", "down.*"])
    assert count == sum(p.numel() for part in (network.stem, network.down) for p in part.parameters())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    groups, _ = parameter_groups(network, [])
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    network.train()(torch.rand(2, 1, 16, 16)).mean().backward()
    optimizer.step()
    changed = {
        name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"up", "merge", "head"}
    assert network.merge.training


def test_patterns_that_fit_nothing_list_the_parts():
    with pytest.raises(InputError, match=r"encoder\* fits no part of the network; its parts are stem, stem\.0"):
        freeze(UNet(widths=(4, 8)), ["encoder*"])
    with pytest.raises(InputError, match="freezes the whole network"):
        freeze(UNet(widths=(4, 8)), ["*"])
    network = UNet(widths=(4, 8))
    freeze(network, ["stem"])
    with pytest.raises(InputError, match=r"trainer\.rates: stem\* fits nothing that is trained"):
        parameter_groups(network, ["stem*:0.1"])
    with pytest.raises(InputError, match=r"expected PATTERN:FACTOR"):
        parameter_groups(network, ["stem*"])
    with pytest.raises(InputError, match=r"covers the whole network; lower trainer\.lr"):
        parameter_groups(network, ["*:0.5"])


def test_rates_are_factors_and_the_first_pattern_counts():
    network = UNet(widths=(2, 4, 8))
    groups, factors = parameter_groups(network, ["down.0:0.5", "down*:0.1", "head:2"])
    assert factors == [1.0, 0.5, 0.1, 2.0]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    assert {id(p) for p in groups[3]["params"]} == {id(p) for p in network.head.parameters()}


def test_without_patterns_the_optimizer_gets_what_it_always_got():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))
    groups, factors = parameter_groups(network, [])
    assert factors == [1.0]
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in network.parameters()]


def test_a_run_starts_from_a_model_says_so_and_goes_on_without_the_file(tmp_path, capsys):
    given = moved(UNet(widths=(4, 8)))
    file = model_file(tmp_path / "m.pth", given, normalization="standard", metrics={"dice": 0.5})
    words = [*SMALL, f"model.weights={file}", "trainer.freeze=[stem,down]", "trainer.rates=['up*:0.1']"]
    cfg = settings(*words)
    run(cfg, tmp_path / "run", weights=start_file(cfg))
    said = capsys.readouterr().out
    assert f"weights: {file}" in said
    assert "tensors as they are" in said
    assert "standard, the model's" in said
    assert "million of them frozen" in said
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    assert torch.equal(content["weights"]["stem.0.weight"], given.stem[0].weight)
    assert content["normalization"] == "standard"
    assert content["start"]["sha256"] == digest(file)
    assert content["start"] == json.loads((tmp_path / "run" / "run.json").read_text())["start"]
    assert (content["start"]["weights"], content["start"]["run"]) == (str(file), "abc")
    file.unlink()
    assert segexp.load_model(tmp_path / "run" / "best_vesicle_model.pth", "cpu").normalization == "standard"
    longer = settings(*words, "trainer.epochs=2")
    run(longer, tmp_path / "run", resume=True)
    said = capsys.readouterr().out
    assert "the run started from" in said
    assert "tensors as they are" not in said
    assert checkpoint.load(tmp_path / "run" / "last.pth")["start"] == content["start"]
    with pytest.raises(InputError, match="and this cannot change"):
        run(settings(*SMALL, "model.weights=vesicle"), tmp_path / "run", resume=True)


def test_a_ready_model_a_run_and_a_sweep_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start_file(settings(*SMALL)) is None
    assert start_file(settings(*SMALL, "model.weights=cytoskeleton")).name == "cytoskeleton.pth"
    file = model_file(tmp_path / "runs" / "first" / "best_vesicle_model.pth")
    assert start_file(settings(*SMALL, "model.weights=runs/first")).resolve() == file


@pytest.mark.parametrize(("spoilt", "kept"), [(False, "trained"), (True, "given")])
def test_the_better_of_the_given_and_the_trained_model_is_kept(tmp_path, capsys, spoilt, kept):
    """A new network is worse than any that was trained; a ready one is better than one trained at an absurd rate."""
    words = [*SMALL[:1], "task.crop=64", "data.synthetic.train=2", "data.synthetic.val=4", "data.synthetic.size=96"]
    words += ["trainer.num_workers=0", "trainer.keep_given=true", "trainer.precision=fp32"]
    if spoilt:
        words += ["model.widths=[16,32,64,128]", "model.weights=vesicle", "trainer.lr=3"]
    else:
        file = model_file(tmp_path / "m.pth", moved(UNet(widths=(4, 8), shrink=2)), threshold=0.999)
        words += ["trainer.lr=0.01", "trainer.epochs=4", f"model.weights={file}"]
    cfg = settings(*words)
    run(cfg, tmp_path / "run", weights=start_file(cfg))
    said = capsys.readouterr().out
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    ready = checkpoint.load("vesicle")
    words = {"trained": "kept: the fine-tuned model", "given": "kept: the given model as it was"}
    assert words[kept] in said
    assert "validation images" in said
    assert content["start"]["kept"] == kept
    scores = content["start"]["scores"]
    assert (scores["trained"] > scores["given"]) == (kept == "trained")
    if kept == "given":
        assert content["metrics"]["dice"] == pytest.approx(scores[kept])
        assert all(
            torch.equal(tensor.float(), ready["weights"][name].float()) for name, tensor in content["weights"].items()
        )
        assert [content[key] for key in ("threshold", "min_size", "temperature")] == [
            ready[key] for key in ("threshold", "min_size", "temperature")
        ]


def test_a_model_without_all_classes_is_not_compared(tmp_path):
    model = start(model_file(tmp_path / "m.pth", UNet(1, 2, widths=(4, 8)), classes=["a", "b"]))
    started = Started(model.facts({}), model)
    assert "no output for c" in as_it_was(started, UNet(1, 2, widths=(4, 8)), ["a", "c"])
    copy, content = as_it_was(Started(model.facts({})), UNet(1, 2, widths=(4, 8)), ["b", "a"])
    assert torch.equal(copy.head.bias, content["weights"]["head.bias"][[1, 0]])
    (tmp_path / "m.pth").unlink()
    assert "is missing or was changed" in as_it_was(Started(model.facts({})), UNet(1, 2, widths=(4, 8)), ["b", "a"])
