"""Images that are the same, or nearly: copies within a split, and validation images that training has already seen.

Equal digests are equal pixels. Near-duplicates are first looked for among the descriptors of all images (one matrix
product), validation images also mirrored and turned; the likeliest pairs are then read again and compared at 64 x 64
blocks, so that images which only look alike at low resolution are not reported. Pairs of a training and a validation
image come first, so that near-identical frames within a split cannot hide them. At 64 x 64 blocks, what an image has
in common with the other images of the set is ignored: images of one instrument share its frame and vignette.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.check.image_stats import DESCRIPTOR, unit_detail
from segexp.check.scan import Entry

ALIKE = 0.9
"""Correlation of two descriptors from which images are looked at again, and of their finer details to be reported."""

_OWN = 0.7  # correlation of what two images have beyond the others of the set: frame, vignette and background apart
_SAMPLE, _FEW = 24, 6  # images that show what a set has in common, and the fewest that do

_FINE = 64
_ROWS = 1024  # descriptors compared with all others at a time
_LOOKED_AT = 300  # pairs read again: across the splits first, then the most alike

_ORIENTATIONS = 8
_CANDIDATES = 100_000  # within a split: a set of near-identical frames has a pair for every two of them
_PARTNERS = 3  # training images kept of each validation image, by orientation and block of rows


class Alike(NamedTuple):
    """Two entries that show the same picture, the second in orientation `turn` of the first (0: the same)."""

    first: int
    second: int
    turn: int
    likeness: float


Reader = Callable[[Entry], NDArray]
"""Reads an entry's image as (height, width) of any dtype."""


def equal_images(entries: Sequence[Entry]) -> list[list[int]]:
    """Groups of entries whose images hold the same pixels."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        if entry.image is not None and not entry.image.constant:
            groups[entry.image.digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def equal_masks(entries: Sequence[Entry]) -> list[list[int]]:
    """Groups of entries that share one mask, but not one image; empty masks are equal without being copies."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    images: defaultdict[str, set[str]] = defaultdict(set)
    for index, entry in enumerate(entries):
        mask, image = entry.mask, entry.image
        if mask is not None and image is not None and 0 < mask.foreground < 1:
            groups[mask.digest].append(index)
            images[mask.digest].add(image.digest)
    return [group for digest, group in groups.items() if len(images[digest]) > 1]


def near_duplicates(entries: Sequence[Entry], read: Reader) -> list[Alike]:
    """Pairs that show the same picture with different pixels, most alike first; turned ones only across splits."""
    chosen = [i for i, e in enumerate(entries) if e.image is not None and e.image.descriptor.any()]
    if len(chosen) < 2:
        return []
    facts = [entries[i].image for i in chosen]
    vectors = np.stack([f.descriptor for f in facts if f is not None])
    digests = np.unique([f.digest for f in facts if f is not None], return_inverse=True)[1]
    splits = np.array([entries[i].split == "val" for i in chosen])
    candidates = [*_across(vectors, digests, splits), *_within(vectors, digests, splits)]
    fine: dict[int, NDArray] = {}

    def detail(position: int) -> NDArray:
        if position not in fine:
            plane = read(entries[chosen[position]])
            plane = plane if plane.dtype in (np.uint8, np.uint16) else plane.astype(np.float32)
            fine[position] = cv2.resize(plane, (_FINE, _FINE), interpolation=cv2.INTER_AREA).astype(np.float32)
        return fine[position]

    def shared(pair: Alike) -> NDArray[np.float32]:
        """What a sample of the other images shares, such as a frame or vignette, (64, 64); zeros for few others."""
        step = max(1, len(chosen) // _SAMPLE)
        others = [i for i in range(0, len(chosen), step) if i not in (pair.first, pair.second)]
        if len(others) < _FEW:
            return np.zeros((_FINE, _FINE), np.float32)
        return np.mean([unit_detail(detail(i)) for i in others], axis=0).reshape(_FINE, _FINE)

    confirmed = []
    for pair in candidates[:_LOOKED_AT]:
        first = unit_detail(detail(pair.first))
        second = unit_detail(turned(detail(pair.second), pair.turn))
        likeness = float(first @ second)
        if likeness < ALIKE:
            continue
        common = shared(pair)
        both = np.stack([common.ravel(), turned(common, pair.turn).ravel()], axis=1)
        if _without(first, both) @ _without(second, both) >= _OWN:
            confirmed.append(Alike(chosen[pair.first], chosen[pair.second], pair.turn, likeness))
    return sorted(confirmed, key=lambda pair: -pair.likeness)


def _without(detail: NDArray, common: NDArray) -> NDArray:
    """What is left of a picture's detail (N,) beside the columns of `common` (N, 2), as a vector of norm 1."""
    residual = detail - common @ (np.linalg.pinv(common) @ detail)
    return residual / max(float(np.linalg.norm(residual)), 1e-12)


def turned(small: NDArray, turn: int) -> NDArray[np.float32]:
    """One of the eight orientations of a square picture."""
    rotated = np.rot90(small, turn // 2)
    return np.ascontiguousarray(rotated[:, ::-1] if turn % 2 else rotated)


def _across(vectors: NDArray, digests: NDArray, validation: NDArray) -> list[Alike]:
    """Alike pairs of a training and a validation image, in any orientation: the likeliest of each validation image
    before the second of any.
    """
    training, others = np.flatnonzero(~validation), np.flatnonzero(validation)
    if not len(training) or not len(others):
        return []
    best: dict[tuple[int, int], Alike] = {}
    pictures = vectors[others].reshape(-1, DESCRIPTOR, DESCRIPTOR)
    for turn in range(_ORIENTATIONS):
        again = np.stack([turned(picture, turn).ravel() for picture in pictures])
        for start in range(0, len(training), _ROWS):
            rows = training[start : start + _ROWS]
            likeness = np.where(digests[rows, None] == digests[others], 0, vectors[rows] @ again.T)
            for column in np.flatnonzero((likeness >= ALIKE).any(axis=0)):
                for row in np.argsort(-likeness[:, column])[:_PARTNERS]:
                    pair = Alike(int(rows[row]), int(others[column]), turn, float(likeness[row, column]))
                    known = best.get((pair.first, pair.second))
                    if pair.likeness >= ALIKE and (known is None or known.likeness < pair.likeness):
                        best[pair.first, pair.second] = pair
    seen: Counter[int] = Counter()
    ranked = []
    for pair in sorted(best.values(), key=lambda pair: -pair.likeness):
        ranked.append((seen[pair.second], pair))
        seen[pair.second] += 1
    return [pair for _, pair in sorted(ranked, key=lambda item: item[0])]


def _within(vectors: NDArray, digests: NDArray, validation: NDArray) -> list[Alike]:
    """Alike pairs of one split, as they are, the most alike first."""
    pairs: list[Alike] = []
    for start in range(0, len(vectors), _ROWS):
        if len(pairs) > _CANDIDATES:
            break
        rows = slice(start, start + _ROWS)
        likeness = vectors[rows] @ vectors[start:].T
        comparable = (digests[rows, None] != digests[start:]) & (validation[rows, None] == validation[start:])
        for row, column in zip(*np.nonzero(np.triu((likeness >= ALIKE) & comparable, 1)), strict=True):
            pairs.append(Alike(start + int(row), start + int(column), 0, float(likeness[row, column])))
    return sorted(pairs, key=lambda pair: -pair.likeness)
