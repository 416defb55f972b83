"""Compares the time of an evaluation per megapixel with the forward pass of the network alone, in interleaved rounds.

    python benchmarks/evaluate.py --size 512 --images 4 --rounds 7

The ratio shows what scoring adds to prediction: overlap, probability and, for vesicles, object scores together. Surface
and filament scores, which need distances and thinning, are reported separately. Ratios are medians over the rounds, in
wall-clock time and in processor time, which other programs disturb less. The images are generated. The scored
predictions are the true masks with noise, because thinning and matching take longer the more objects there are.
"""

import argparse
import time

import numpy as np
import torch

from segexp import synthesis
from segexp.data.dataset import make_sample
from segexp.device import autocast, choose_device, choose_precision
from segexp.evaluation import evaluate, evaluate_fully, score_image
from segexp.inference.predictor import Predictor
from segexp.models import UNet

OWN = {"vesicle": ("probability", "object"), "cytoskeleton": ("probability",)}
"""Families of scores of each task (conf/task), without surface and filament scores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    chosen = parser.parse_args()
    device, _ = choose_device("auto")
    precision, _ = choose_precision("auto", device)
    torch.manual_seed(0)
    predictor = Predictor(UNet(widths=chosen.widths).eval(), "standard", ["a"], device=device, precision=precision)
    megapixels = chosen.images * chosen.size**2 / 1e6
    print(
        f"{device}, {precision}, {torch.get_num_threads()} threads, widths {chosen.widths}, {megapixels:.2f} MP a round"
    )
    for task, families in OWN.items():
        images, masks = synthesis.generate(task, chosen.images, chosen.size, 0)
        samples = [
            make_sample(str(i), image[None], mask, 1) for i, (image, mask) in enumerate(zip(images, masks, strict=True))
        ]
        maps = [likely(sample.labels, index) for index, sample in enumerate(samples)]
        inputs = [torch.from_numpy(sample.pixels.astype(np.float32))[None].to(device) for sample in samples]

        def forward(inputs=inputs):
            for image in inputs:
                with torch.inference_mode(), autocast(device, precision):
                    predictor.model(image.contiguous(memory_format=torch.channels_last))
            if device.type == "cuda":
                torch.cuda.synchronize()

        def score(families, samples=samples, maps=maps):
            for sample, likelihood in zip(samples, maps, strict=True):
                labels = predictor.labels(likelihood)
                score_image(likelihood, labels, sample.labels, ["a"], sample.name, families)

        def predict_and_take(index, pixels, maps=maps):
            predictor.probabilities(pixels)  # from an untrained network, so they resemble no mask
            return maps[index]

        def full(samples=samples, families=families, probabilities=predict_and_take):
            evaluate_fully(predictor, samples, families, on_image=lambda i, s, _: None, probabilities=probabilities)

        jobs = {
            "bare forward": forward,
            "validation during training": lambda samples=samples: evaluate(predictor, samples),
            "evaluation": full,
            "of these, scoring": lambda score=score, families=families: score(families),
            "surface scores": lambda score=score: score(("surface",)),
            "filament scores": lambda score=score: score(("filament",)),
            "overlap alone": lambda score=score: score(()),
        }
        times = {name: [] for name in jobs}
        for _ in range(chosen.rounds + 1):
            for name, job in jobs.items():
                start = np.array([time.perf_counter(), time.process_time()])
                job()
                times[name].append((np.array([time.perf_counter(), time.process_time()]) - start) / megapixels * 1e3)
        base = np.array(times["bare forward"][1:])
        print(f"{task}:{'ms a megapixel':>43}{'x bare':>9}{'processor':>11}")
        for name, values in times.items():
            wall, busy = np.median(np.array(values[1:]) / base, axis=0)
            print(f"  {name:28}{np.median(np.array(values[1:])[:, 0]):20.1f}{wall:11.2f}{busy:11.2f}")


def likely(truth, seed: int) -> np.ndarray:
    """Return probabilities (1, H, W) that resemble the true masks, with borders shifted and blurred locally."""
    import cv2

    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=truth.shape).astype(np.float32), (0, 0), 2)
    soft = cv2.GaussianBlur((truth == 1).astype(np.float32), (0, 0), 1.0)
    return np.clip(soft + 0.6 * noise, 0, 1)[None]


if __name__ == "__main__":
    main()
