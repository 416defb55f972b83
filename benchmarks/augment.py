"""Compares the speed of augmentation: this package, stock Kornia, and albumentations if it is installed.

    python benchmarks/augment.py [--rounds 7] [--threads 2]

All candidates run in this process on the same arrays, 8 x 1 x 512 x 512 with masks. A round times each candidate once;
the table shows the median over the rounds and the median of the rounds' ratios, so that a busy machine slows all
candidates equally. Only the two-worker figure comes from other processes. Every candidate flips, rotates, scales,
shears, deforms, equalises (CLAHE, 8 x 8 tiles, limit 1 to 4), changes brightness and contrast and standardises every
image. The elastic settings are chosen for about the same displacement, which is measured for each candidate on an image
of coordinates. Waiting OpenMP threads spin by default, which slows OpenCV's threads and those of other processes. On a
busy machine, two threads help only with OMP_WAIT_POLICY=PASSIVE before the command.

AlbumentationsX is imported under the same name as albumentations; install one or the other to compare with it.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import cv2
import kornia.augmentation as K
import numpy as np
import torch
import torch.nn.functional as F
from kornia.enhance import equalize_clahe

from segexp.augment import Augmentation, RandomBrightnessContrast, RandomCLAHE, RandomWarp, Standardize, clahe
from segexp.augment.geometry import compose, dihedral_matrix, resample, sampling_map

BATCH, SIZE, SPACING, MAGNITUDE = 8, 512, 32, 8.0
CONTROL = (SIZE - 1) // SPACING + 4
AFFINE = {"rotation": (-15, 15), "scale": (0.9, 1.1), "shear": (-5, 5)}


def micrographs() -> tuple[np.ndarray, np.ndarray]:
    """Return images of blobs and filaments of many brightnesses with noise, uint8 (B, H, W), and 0/1 masks."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for _ in range(BATCH):
        light = np.zeros((SIZE, SIZE), np.float32)
        for _ in range(60):
            start, end = rng.integers(0, SIZE, (2, 2)).tolist()
            cv2.line(light, start, end, float(rng.uniform(0.2, 1)), int(rng.integers(1, 4)))
            cv2.circle(
                light, rng.integers(0, SIZE, 2).tolist(), int(rng.integers(2, 8)), float(rng.uniform(0.2, 1)), -1
            )
        masks.append((light > 0).astype(np.uint8))
        noisy = rng.poisson(cv2.GaussianBlur(light, (0, 0), 1.5) * 60 + 6) / 80
        images.append((noisy.clip(0, 1) * 255).astype(np.uint8))
    return np.stack(images), np.stack(masks)


class Table:
    """Times candidates in turns; the others are compared with the first one added."""

    def __init__(self, title: str, rounds: int) -> None:
        self.title, self.rounds = title, rounds
        self.candidates: dict[str, Callable[[], object]] = {}

    def add(self, name: str, run: Callable[[], object]) -> None:
        self.candidates[name] = run

    def show(self, images: int = BATCH) -> None:
        times: dict[str, list[float]] = {name: [] for name in self.candidates}
        for turn in range(self.rounds + 1):
            for name, run in self.candidates.items():
                start = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    times[name].append(time.perf_counter() - start)
        first = next(iter(times.values()))
        print(f"\n{self.title}\n{'':44s}{'ms':>9s}{'images/s':>11s}{'time/ours':>11s}")
        for name, values in times.items():
            seconds = statistics.median(values)
            ratio = statistics.median(b / a for a, b in zip(first, values, strict=True))
            print(f"{name:44s}{seconds * 1e3:9.1f}{images / seconds:11.0f}{ratio:11.2f}")


def coordinates() -> np.ndarray:
    """Return an image of coordinates, (H, W, 3) float32: x, y and 0, as shares of the size."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / (SIZE - 1)
    return np.stack([x, y, 0 * x], axis=-1)


def displacement(deform: Callable[[np.ndarray], np.ndarray]) -> str:
    """Return the root mean square and the largest displacement in pixels of ``deform``, without the edges."""
    still = coordinates()
    moved = [np.linalg.norm((deform(still) - still)[40:-40, 40:-40, :2] * (SIZE - 1), axis=-1) for _ in range(4)]
    return f"{np.sqrt(np.mean(np.square(moved))):.1f} px rms, {np.max(moved):.1f} px at most"


def by_tensor(operation: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: operation(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()


def this_package() -> Augmentation:
    warp = RandomWarp(p_turn=0, p_affine=1, p_elastic=1, magnitude=(MAGNITUDE, MAGNITUDE), spacing=SPACING, **AFFINE)
    return Augmentation([warp, RandomCLAHE(p=1), Standardize(), RandomBrightnessContrast(p=1)])


def stock_kornia() -> K.AugmentationSequential:
    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomVerticalFlip(p=0.5),
        K.RandomAffine(15.0, scale=(0.9, 1.1), shear=5.0, padding_mode="reflection", p=1.0),
        K.RandomElasticTransform(alpha=(0.9, 0.9), padding_mode="reflection", p=1.0),
        K.RandomClahe(clip_limit=(1.0, 4.0), p=1.0),
        K.RandomBrightness((0.9, 1.1), p=1.0),
        K.RandomContrast((0.8, 1.2), p=1.0),
        K.Normalize(torch.tensor([0.3]), torch.tensor([0.2])),
        data_keys=["input", "mask"],
    )


def albumentations_list(A) -> tuple[list, object]:
    """Return the same steps in albumentations or AlbumentationsX, and the elastic step separately."""
    if hasattr(A, "ElasticTransform3D"):  # AlbumentationsX: cubic B-spline control grid, as here
        share = MAGNITUDE / (SIZE - 1)
        elastic = A.ElasticTransform((share, share), (CONTROL, CONTROL), border_mode=cv2.BORDER_REFLECT, p=1)
        limits = {"clip_range": (1.0, 4.0)} if "clip_range" in A.CLAHE.__init__.__code__.co_varnames else {}
        jitter = A.RandomBrightnessContrast(p=1)
    else:
        elastic = A.ElasticTransform(alpha=600, sigma=16, border_mode=cv2.BORDER_REFLECT, p=1)
        limits = {"clip_limit": (1.0, 4.0)}
        jitter = A.RandomBrightnessContrast(0.2, 0.2, p=1)
    affine = A.Affine(scale=(0.9, 1.1), rotate=(-15, 15), shear=(-5, 5), border_mode=cv2.BORDER_REFLECT, p=1)
    clahe_step = A.CLAHE(**limits, tile_grid_size=(8, 8), p=1)
    steps = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), affine, elastic, clahe_step, jitter]
    return [*steps, A.Normalize(normalization="image", p=1)], elastic


class PerImage(torch.utils.data.Dataset):
    """A data set of augmented images, for worker processes."""

    def __init__(self, transform, images: np.ndarray, masks: np.ndarray, length: int) -> None:
        self.transform, self.images, self.masks, self.length = transform, images, masks, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = self.images[index % BATCH], self.masks[index % BATCH]
        result = self.transform(image=image[..., None], mask=mask)
        return np.asarray(result["image"]), np.asarray(result["mask"])


def two_workers(dataset: PerImage) -> Callable[[], object]:
    """Run one epoch with two warm worker processes of one thread each."""
    loader = torch.utils.data.DataLoader(
        dataset, BATCH, num_workers=2, persistent_workers=True, worker_init_fn=lambda _: cv2.setNumThreads(0)
    )
    return lambda: sum(1 for _ in loader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    warnings.filterwarnings("ignore", module="kornia")
    torch.manual_seed(0)
    raw, raw_masks = micrographs()
    images = torch.from_numpy(raw).float()[:, None] / 255
    masks = torch.from_numpy(raw_masks)[:, None]
    standard = (images - images.mean()) / images.std()

    ours, kornia = this_package(), stock_kornia()
    elastic = RandomWarp(0, 0, p_affine=0, p_elastic=1, magnitude=(MAGNITUDE, MAGNITUDE), spacing=SPACING)
    print("Displacement of the elastic part")
    print(f"  this package     {displacement(by_tensor(elastic))}")
    print(f"  kornia           {displacement(by_tensor(kornia[3]))}")
    whole = Table("Whole pipeline, 8 images and masks", options.rounds)
    whole.add("this package", lambda: ours(standard, masks))
    whole.add("kornia, batched", lambda: kornia(images, masks))
    try:
        import albumentations as A
    except ImportError:
        print("  albumentations is not installed (pip install segexp[bench]): skipped")
    else:
        name = f"{'AlbumentationsX' if hasattr(A, 'ElasticTransform3D') else 'albumentations'} {A.__version__}"
        steps, its_elastic = albumentations_list(A)
        print(f"  {name}  {displacement(lambda image: A.Compose([its_elastic])(image=image)['image'])}")
        transform = A.Compose(steps)
        single = PerImage(transform, raw, raw_masks, BATCH)
        whole.add(f"{name}, one process", lambda: [single[i] for i in range(BATCH)])
        pair = Table(f"Against two workers, {8 * BATCH} images", max(options.rounds // 2, 2))
        pair.add("this package", lambda: [ours(standard, masks) for _ in range(8)])
        pair.add(f"{name}, two workers", two_workers(PerImage(transform, raw, raw_masks, 8 * BATCH)))
        pair.show(8 * BATCH)
    whole.show()

    params = ours.operations[0].forward_parameters(standard.shape)
    floats = masks.float()
    size, cpu = (SIZE, SIZE), torch.device("cpu")
    matrix = compose(dihedral_matrix(params["flip_x"], params["flip_y"], params["turn"], size), params["matrix"])

    def batched_warp() -> None:
        grid = sampling_map(matrix, params["control"], SPACING, size, cpu, normalized=True).permute(0, 2, 3, 1)
        F.grid_sample(standard, grid, "bilinear", "reflection", False)
        F.grid_sample(masks.float(), grid, "nearest", "reflection", False).to(torch.uint8)

    fixed = (
        sampling_map(matrix, params["control"], SPACING, size, cpu, normalized=True).permute(0, 2, 3, 1).contiguous()
    )

    def bare() -> None:
        F.grid_sample(standard, fixed, "bilinear", "reflection", False)
        F.grid_sample(floats, fixed, "nearest", "reflection", False)

    warp = Table("Elastic and affine, image and mask, against a bare grid_sample", options.rounds)
    warp.add("this package", lambda: ours.operations[0].warp(standard, masks, params))
    warp.add("this package, the device's route on the CPU", batched_warp)
    warp.add("bare grid_sample of image and mask", bare)
    maps = sampling_map(matrix, params["control"], SPACING, size, cpu)
    warp.add("OpenCV remap alone", lambda: resample(standard, maps, "bilinear", "reflection"))
    warp.show()

    equalizer = cv2.createCLAHE(2.0, (8, 8))
    table = Table("CLAHE alone, 8 bit", options.rounds)
    table.add("this package", lambda: clahe(images, 2.0, (8, 8)))
    table.add("this package, batched on the CPU", lambda: clahe(images, 2.0, (8, 8), backend="batched"))
    table.add("OpenCV on uint8", lambda: [equalizer.apply(image) for image in raw])
    table.add("kornia equalize_clahe", lambda: equalize_clahe(images, 2.0, (8, 8)))
    table.show()


if __name__ == "__main__":
    main()
