"""Networks of other projects, trained as in their own tutorials: the baselines of `benchmarks/accuracy.py`.

    python -m benchmarks.peers monai --data DATA --task vesicle --seconds 300 --seed 0 --output DIR

`monai`: BasicUNet with its default widths, random crops and augmentation by MONAI's dictionary transforms, Dice and
cross-entropy, Adam, sliding windows with Gaussian weights. `smp`: Unet of segmentation_models_pytorch with a resnet18
encoder, without pretrained weights, trained in the same way. segexp reads the images and masks, so that all networks
get the same pixels. The time limit starts with the process. The weights of the last step are scored at a threshold of
0.5; the scores are written to DIR/scores.csv, with DIR/peer.json beside it.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from monai.data import DataLoader, Dataset
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from numpy.typing import NDArray
from torch import nn

from segexp.config import conf_dir, read
from segexp.data.dataset import Sample
from segexp.device import autocast, choose_precision
from segexp.evaluation import score_image
from segexp.evaluation.io import scores_text
from segexp.experiment.build import read_data

PEERS = ("monai", "smp")
CROP, BATCH, RATE = 256, 8, 1e-3
SCORES = ("object", "filament")
BOTH = ("image", "label")


def network(name: str, channels: int) -> nn.Module:
    """Return the peer's network for one class and images with this number of channels."""
    if name == "monai":
        return BasicUNet(spatial_dims=2, in_channels=channels, out_channels=1)
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, in_channels=channels, classes=1)


def entry(sample: Sample) -> dict[str, NDArray]:
    """Return the image (C, H, W), float32 with mean 0 and deviation 1, and the mask (1, H, W)."""
    pixels, labels = sample.load()
    values = pixels.astype(np.float32)
    mean, deviation = values.mean((1, 2), keepdims=True), values.std((1, 2), keepdims=True)
    return {"image": (values - mean) / np.maximum(deviation, 1e-6), "label": (labels == 1)[None].astype(np.float32)}


def batches(samples: list[Sample], seed: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of augmented crops without end."""
    transforms = Compose(
        [
            SpatialPadd(BOTH, (CROP, CROP), mode="reflect"),
            RandCropByPosNegLabeld(BOTH, "label", (CROP, CROP), pos=1, neg=1, num_samples=2),
            RandFlipd(BOTH, 0.5, 0),
            RandFlipd(BOTH, 0.5, 1),
            RandRotate90d(BOTH, 0.5),
            RandScaleIntensityd("image", 0.2, prob=0.5),
            RandShiftIntensityd("image", 0.2, prob=0.5),
            RandGaussianNoised("image", 0.2, std=0.1),
        ]
    ).set_random_state(seed)
    loader = DataLoader(Dataset([entry(sample) for sample in samples], transforms), BATCH // 2, shuffle=True)
    while True:
        yield from loader


def train(name: str, samples: list[Sample], end: float, most: int | None, seed: int) -> tuple[nn.Module, int, str]:
    """Train for `most` steps or until `time.monotonic` reaches `end`; return the network, its steps, the precision."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, _ = choose_precision("auto", device)
    model = network(name, samples[0].shape[0]).to(device)
    loss, optimizer = DiceCELoss(sigmoid=True), torch.optim.Adam(model.parameters(), RATE)
    feed, steps = batches(samples, seed), 0
    model.train()
    while time.monotonic() < end if most is None else steps < most:
        batch = next(feed)
        with autocast(device, precision):
            logits = model(batch["image"].to(device))
        value = loss(logits.float(), batch["label"].to(device))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        steps += 1
    return model.eval(), steps, precision


@torch.inference_mode()
def probabilities(model: nn.Module, image: NDArray, precision: str) -> NDArray:
    """Return the foreground probabilities (1, H, W) of an image (C, H, W), by overlapping windows."""
    device = next(model.parameters()).device
    with autocast(device, precision):
        logits = sliding_window_inference(
            torch.from_numpy(image)[None].to(device), (CROP, CROP), 4, model, overlap=0.25, mode="gaussian"
        )
    return torch.sigmoid(logits.float())[0].cpu().numpy()


def main() -> None:
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="vesicle")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--steps", type=int, help="limit in steps, instead of seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = [f"task={options.task}", f"data.root={options.data}", "data.cache=ram", "output_dir=none"]
        cfg = read(compose("config", words))
    train_samples, val_samples = read_data(cfg.data, cfg.task, options.seed, 0, print)
    model, steps, precision = train(options.peer, train_samples, start + options.seconds, options.steps, options.seed)
    tick, rows = time.monotonic(), []
    for sample in val_samples:
        found = probabilities(model, entry(sample)["image"], precision)
        truth = sample.load()[1]
        rows += score_image(found, (found[0] >= 0.5).astype(np.uint8), truth, ["object"], sample.name, SCORES)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "scores.csv").write_text(scores_text([scores.row for scores in rows]))
    facts = {"steps": steps, "precision": precision, "prediction and scores s": time.monotonic() - tick}
    (options.output / "peer.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
