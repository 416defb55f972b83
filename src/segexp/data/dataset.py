"""Find the image and mask files that belong together, read them, and report every fault at once.

An image and its mask share their stem: ``img/cell_01.tif`` and ``mask/cell_01.npy``.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.data.foreign import (
    VENDOR_ADVICE,
    annotation_kind,
    describe_annotation,
    describe_vendor_files,
    find_annotation,
    vendor_files,
)
from segexp.data.naming import find_rules
from segexp.data.normalization import image_statistics
from segexp.data.reading import (
    Pair,
    Place,
    Reading,
    Window,
    inspect_files,
    inspect_pair,
    read_instances,
    read_pair,
    read_pair_window,
)
from segexp.data.survey import PixelDigest, Survey, is_large
from segexp.errors import InputError
from segexp.io.images import IGNORE, IMAGE_SUFFIXES, MASK_SUFFIXES, ImageFile, MaskFile, open_image
from segexp.io.labels import Values
from segexp.io.ownership import predictions_in
from segexp.io.resample import Size

__all__ = [
    "FOREGROUND_POINTS",
    "Pair",
    "Pairing",
    "Reading",
    "Sample",
    "empty_faults",
    "find_pairs",
    "make_sample",
    "pixel_bytes",
    "read_folder",
    "read_pair",
    "read_samples",
    "sample_of_files",
    "settle_doubts",
]

FOREGROUND_POINTS = 4096
"""Foreground pixels kept for each image, a uniform subset if there are more: enough to place crops on."""

_LOSSY = ("jpg", "jpeg", "bmp", "webp", "gif", "csv", "txt", "mat", "npz", "h5")


@dataclass
class Sample:
    """One annotated image: its statistics, and its pixels if they are kept in memory.

    Attributes:
        name: the file's name, for tables and messages.
        shape: (C, H, W).
        dtype: the file's.
        offset, scale: float32 (C,), of the whole image: see `segexp.data.normalization`.
        foreground: int32 (N, 2) rows and columns of up to `FOREGROUND_POINTS` foreground pixels.
        class_pixels: pixels of each label 0..K, int64 (K + 1,).
        pixels: (C, H, W) in the file's dtype, or None when read on demand.
        labels: (H, W) uint8, or None when read on demand.
        source: the two files; None for generated images.
        reading: how the files are read.
        mask_kind: the detected content of the mask, such as ``0/255``: see `segexp.io.labels.Values`.
        pixel_size: micrometres (y, x) of a pixel; None if unknown.
        hue: the colour that is read as grey: see `segexp.data.reading.hue_of`.
        has_instances: whether `instances` gives object ids.
        group: of images that belong together, such as the slices of a stack; empty without groups.
        digest: changes with any pixel or label.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    foreground: NDArray[np.int32]
    class_pixels: NDArray[np.int64]
    pixels: NDArray | None = None
    labels: NDArray[np.uint8] | None = None
    source: Pair | None = field(default=None, repr=False)
    reading: Reading | None = field(default=None, repr=False)
    mask_kind: str = "0/1"
    pixel_size: Size | None = None
    hue: int | None = None
    has_instances: bool = False
    group: str = ""
    doubt: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)

    def load(self) -> tuple[NDArray, NDArray[np.uint8]]:
        """Pixels (C, H, W) and labels (H, W): from memory, or from the two files."""
        if self.pixels is not None and self.labels is not None:
            return self.pixels, self.labels
        return self._stored((0, 0, *self.shape[1:]))

    def window(self, top: int, left: int, size: int) -> tuple[NDArray, NDArray[np.uint8]]:
        """The square of `size` at (top, left) of pixels (C, h, w) and labels (h, w), smaller at the image's end.

        Taken from memory, or read from that part of the two files: see `segexp.io.images.open_image`.
        """
        height, width = min(size, self.shape[1] - top), min(size, self.shape[2] - left)
        if self.pixels is not None and self.labels is not None:
            cut = slice(top, top + height), slice(left, left + width)
            return self.pixels[:, *cut], self.labels[cut]
        return self._stored((top, left, height, width))

    def _stored(self, window: Window) -> tuple[NDArray, NDArray[np.uint8]]:
        """A window of the two files."""
        assert self.source is not None
        assert self.reading is not None
        shape = self.shape[1], self.shape[2]
        return read_pair_window(self.source, self.reading, window, shape, self.dtype, self.hue)

    def instances(self) -> NDArray[np.int32] | None:
        """Object ids (H, W) from the mask file, 0 for background; None if the masks of the set hold no objects."""
        if not self.has_instances or self.source is None or self.reading is None:
            return None
        return read_instances(self.source, self.reading)


class Pairing(NamedTuple):
    """The result of `find_pairs`.

    Attributes:
        pairs: sorted by name.
        faults: what is wrong, each with its file.
        notes: for information: the rule by which names correspond, and ignored files.
    """

    pairs: list[Pair]
    faults: list[str]
    notes: list[str]


def find_pairs(image_dir: str | Path, mask_dir: str | Path, page: object = None) -> Pairing:
    """Pair the files of two folders by stem, or by the only rule that maps names of images to names of masks.

    Files that are neither images nor masks (``.DS_Store``, ``Thumbs.db``, notes) are ignored. If the mask folder holds
    both an ``.npy`` and a picture of the same stem, the ``.npy`` is the mask. If no mask has the name of an image, the
    names must differ by one constant part: see `segexp.data.naming`. With `page` ``each``, every page of an image forms
    a pair with the same page of the mask, or with the mask file of that page: ``stack_3.png`` or ``stack_0003.png`` for
    page 3 of ``stack.tif``. With another `page`, the same page of a stack of masks is taken, or all of them projected.
    """
    image_dir, mask_dir = Path(image_dir), Path(mask_dir)
    faults = [f"{folder}: no such folder" for folder in (image_dir, mask_dir) if not folder.is_dir()]
    try:
        if faults:
            drawn = find_annotation(image_dir, mask_dir.parent) if image_dir.is_dir() else {}
            faults[-1] += f"; found {describe_annotation(drawn, image_dir, mask_dir)}" if drawn else ""
            return Pairing([], faults, [])
        if image_dir.samefile(mask_dir):
            return Pairing([], [f"{image_dir}: images and masks in one folder; expected a folder for each"], [])
        return _pair(image_dir, mask_dir, page)
    except OSError as error:
        return Pairing([], [f"{error.filename}: {error.strerror}"], [])


def _pair(image_dir: Path, mask_dir: Path, page: object) -> Pairing:
    """`find_pairs` of two folders that exist."""
    written = predictions_in(image_dir)
    images, image_twins = _by_stem(image_dir, IMAGE_SUFFIXES, written)
    arrays, array_twins = _by_stem(mask_dir, (".npy",))
    arrays = {stem: path for stem, path in arrays.items() if annotation_kind(path) is None}
    pictures, picture_twins = _by_stem(mask_dir, MASK_SUFFIXES[1:])
    vendor = vendor_files(image_dir)
    notes = [f"{image_dir}: {describe_vendor_files(vendor)}"] if vendor else []
    left_out = sum((image_dir / name).is_file() for name in written)
    if left_out:
        notes.append(
            f"{image_dir}: not taken as images: {left_out} file{'s' * (left_out > 1)} that segexp predict wrote"
        )
    arrays, pictures, unclear = _renamed(images, arrays, pictures, mask_dir, notes)
    if unclear:
        return Pairing([], [unclear], notes)
    extra = {stem for stem in pictures if arrays and stem not in images}  # previews, perhaps, beside .npy masks
    twins = image_twins + array_twins + [path for path in picture_twins if path.stem not in arrays.keys() | extra]
    faults = [
        (f"{path}: another file has the same name with another extension; each needs a name of its own")
        for path in twins
    ]
    masks = {stem: path for stem, path in pictures.items() if stem not in extra} | arrays  # .npy counts where both are
    if not images:
        faults.append(_no_images(image_dir, vendor))
    pairs, used, more = _matched(images, masks, image_dir, mask_dir, page)
    faults += more
    raw = {path.stem: path for path in vendor}
    for stem in sorted(masks.keys() - used):
        also = f", but there is {raw[stem].name}; {VENDOR_ADVICE}" if stem in raw else ""
        faults.append(f"{masks[stem]}: no image of that name in {image_dir}{also}")
    counted = Counter(pair.name for pair in pairs)
    faults += [
        f"{pair.image}: page {pair.page} and another image would both be called {pair.name}; rename one file"
        for pair in pairs
        if counted[pair.name] > 1 and pair.page is not None
    ]
    return Pairing(pairs, faults, notes)


def _no_images(image_dir: Path, vendor: list[Path]) -> str:
    """The fault for an image folder without images; it names what the folder holds instead."""
    also = f"; {describe_vendor_files(vendor)}" if vendor else ""
    below = next((p for p in image_dir.rglob("[!.]*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()), None)
    also += f"; {below.relative_to(image_dir)} and others in sub-folders are not read" if below is not None else ""
    return f"{image_dir}: no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}{also}"


def _matched(
    images: dict[str, Path], masks: dict[str, Path], image_dir: Path, mask_dir: Path, page: object
) -> tuple[list[Pair], set[str], list[str]]:
    """Match images and masks, given by stem; returns the pairs, the stems of the matched masks, and faults."""
    pairs: list[Pair] = []
    faults: list[str] = []
    used: set[str] = set()
    lacking: dict[str, str] = {}
    for stem, image in images.items():
        try:
            matched = _pages(image, stem, masks, masks.keys() - images.keys()) if page == "each" else []
            if not matched and stem in masks:
                matched = [Pair(image, masks[stem], mask_page=_mask_page(image, masks[stem], page))]
        except InputError as error:
            faults.append(str(error))
            used.add(stem)
            continue
        if matched:
            pairs += matched
            used |= {stem} if stem in masks else {pair.mask.stem for pair in matched}
            continue
        twin = _lookalike(stem, masks.keys() - images.keys())
        if twin is not None:
            used.add(twin)
            faults.append(f"{image}: no mask of that name, but {masks[twin].name}, {_how(stem, twin)}; rename one")
            continue
        other = next((p.name for p in mask_dir.glob(f"{_escape(stem)}.*") if p.suffix[1:].lower() in _LOSSY), None)
        also = f" (there is {other}: save it as .npy, .png or .tif, which keep every value)" if other else ""
        lacking[stem] = f"{image}: no mask {mask_dir / stem} ending in {', '.join(MASK_SUFFIXES)}{also}"
    drawn = find_annotation(mask_dir, image_dir, mask_dir.parent) if lacking else {}
    if drawn:
        count = "no image has" if not pairs else f"{len(lacking)} image{'s have' if len(lacking) > 1 else ' has'} no"
        count = f"{count} a mask" if not pairs else f"{count} mask"
        faults.append(f"{mask_dir}: {count}, but {describe_annotation(drawn, image_dir, mask_dir)}")
    else:
        faults += lacking.values()
    return pairs, used, faults


def _renamed(
    images: dict[str, Path], arrays: dict[str, Path], pictures: dict[str, Path], mask_dir: Path, notes: list[str]
) -> tuple[dict[str, Path], dict[str, Path], str]:
    """Rename the masks by the names of their images if one rule maps these to those; a fault if several rules do.

    Nothing is changed if any mask has an image's name, or if no rule fits.
    """
    if not images or not (arrays or pictures) or images.keys() & arrays.keys():
        return arrays, pictures, ""
    for masks in (arrays, pictures):
        rules = find_rules(images.keys(), masks.keys()) if masks else []
        named = images.keys() & pictures.keys()
        if not rules or (named and masks is pictures):
            continue
        (rule, names), *others = rules
        image, mask = next(iter(names.items()))
        example = f"{images[image].name} and {masks[mask].name}"
        if named:
            stem = min(named)
            message = f"two files may be the mask of {images[stem].name}: {pictures[stem].name} and, by its name, "
            return (
                arrays,
                pictures,
                f"{mask_dir}: {message}{masks[names[stem]].name if stem in names else masks[mask].name}; keep one",
            )
        if others:
            choices = " or ".join(
                sorted(masks[matched_by[image]].name for _, matched_by in rules if image in matched_by)
            )
            message = f"no mask has the name of an image, and {len(rules)} naming rules would match images to masks"
            return (
                arrays,
                pictures,
                f"{mask_dir}: {message} ({images[image].name} with {choices}); keep one mask for each image",
            )
        if not rule.is_plain:
            message = f"no mask has the name of an image; the only rule that fits is '{rule.patterns[0]}' and"
            advice = f"if these belong together ({example}), name the masks as their images"
            return arrays, pictures, f"{mask_dir}: {message} '{rule.patterns[1]}'; {advice}"
        count = f"{len(names)} of {len(images)} images" if len(names) < len(images) else f"{len(names)} images"
        notes.append(
            f"{mask_dir}: masks are matched to images by the rule: '{rule.patterns[0]}' has mask '{rule.patterns[1]}' "
            f"({example}; {count})"
        )
        back = {mask: image for image, mask in names.items()}
        renamed = {back.get(stem, stem): path for stem, path in masks.items()}
        return (renamed, pictures, "") if masks is arrays else (arrays, renamed, "")
    if images.keys() & pictures.keys() or len(images) < 2:
        return arrays, pictures, ""
    masks = arrays | pictures
    if any(_lookalike(stem, masks) for stem in images) or _have_pages(images, masks):
        return arrays, pictures, ""
    example = f"{_some(images.values())} and masks such as {_some(masks.values())}"
    advice = (
        "expected masks named as their images, or with one constant beginning or ending, such as c1_mask.npy for c1.tif"
    )
    return arrays, pictures, f"{mask_dir}: no mask matches an image: the images are named like {example}; {advice}"


def make_sample(
    name: str, pixels: NDArray, labels: NDArray[np.uint8], classes: int, normalization: str = "standard"
) -> Sample:
    """Make the sample of one image from pixels (C, H, W) and labels (H, W), and keep both."""
    offset, scale = image_statistics(pixels, normalization)
    foreground = np.flatnonzero((labels > 0) & (labels != IGNORE))
    if len(foreground) > FOREGROUND_POINTS:
        step = np.linspace(0, len(foreground) - 1, FOREGROUND_POINTS).astype(np.int64)
        foreground = foreground[step]
    points = np.stack(np.unravel_index(foreground, labels.shape), axis=1).astype(np.int32)
    counts = np.bincount(labels.ravel(), minlength=classes + 1)[: classes + 1]
    shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
    digest = PixelDigest()
    digest.pixels(pixels)
    digest.labels(labels)
    return Sample(name, shape, pixels.dtype, offset, scale, points, counts, pixels, labels, digest=digest.text())


def survey_sample(pair: Pair, reading: Reading, normalization: str) -> Sample:
    """The sample of an image that is never in memory as a whole; its statistics equal those of `make_sample`."""
    survey = Survey(pair, reading, normalization, FOREGROUND_POINTS)
    return Sample(
        pair.name,
        survey.shape,
        survey.dtype,
        survey.offset,
        survey.scale,
        survey.foreground,
        survey.class_pixels,
        source=pair,
        reading=reading,
        mask_kind=survey.values.kind,
        doubt=survey.values.doubt,
        digest=survey.digest,
        pixel_size=survey.place.pixel_size,
        hue=survey.place.hue,
    )


def sample_of_files(
    pair: Pair, image: ImageFile, mask: MaskFile, reading: Reading, keep: bool, normalization: str = "standard"
) -> Sample:
    """The sample of two files that are open already; `keep=False` drops its pixels."""
    return _sample(pair, inspect_files(pair, image, mask, reading), reading, keep, normalization)


def _sample(
    pair: Pair,
    content: tuple[NDArray, NDArray[np.uint8], Values, Place],
    reading: Reading,
    keep: bool,
    normalization: str,
) -> Sample:
    pixels, labels, values, place = content
    sample = make_sample(pair.name, pixels, labels, reading.classes, normalization)
    sample.source, sample.reading = pair, reading
    sample.pixel_size, sample.hue = place.pixel_size, place.hue
    sample.mask_kind, sample.doubt = values.kind, values.doubt
    if not keep:
        sample.pixels = sample.labels = None
    return sample


def read_samples(
    pairs: Iterable[Pair],
    reading: Reading,
    keep: bool,
    workers: int = 4,
    normalization: str = "standard",
    known: Mapping[Pair, Sample] | None = None,
) -> tuple[list[Sample], list[str]]:
    """Read every pair once, in threads; return the readable ones and the faults of the others.

    `keep=False` computes each image's statistics and drops its pixels, for data larger than memory; a large image is
    then read in bands. Pairs in `known` were read before and are not read again.
    """
    pairs, known = list(pairs), known or {}

    def read(pair: Pair) -> Sample | str:
        if pair in known:
            return known[pair]
        try:
            if not keep and is_large(pair, reading):
                return survey_sample(pair, reading, normalization)
            return _sample(pair, inspect_pair(pair, reading), reading, keep, normalization)
        except InputError as error:
            return str(error)
        except OSError as error:
            return f"{pair.image}: {error}"

    samples: list[Sample] = []
    faults: list[str] = []
    with ThreadPoolExecutor(max(1, min(workers, os.cpu_count() or 1))) as pool:
        for result in pool.map(read, pairs):
            if isinstance(result, str):
                faults.append(result)
            else:
                samples.append(result)
    return samples, faults


def settle_doubts(samples: Iterable[Sample]) -> list[str]:
    """Faults of masks that remain ambiguous after the whole set was read; marks the samples if the masks hold objects.

    A mask with few ids is unambiguous if another has many; so is a soft mask below the threshold if another reaches it.
    White alone is no object's id: the objects of a mask of 0/255 are its connected pieces, whatever the others hold.
    """
    samples = list(samples)
    clear = {sample.mask_kind for sample in samples if not sample.doubt}
    for sample in samples:
        sample.has_instances = "instance ids" in clear and sample.mask_kind not in ("0/255", "0/65535")
    return [sample.doubt for sample in samples if sample.doubt and sample.mask_kind not in clear]


def read_folder(
    image_dir: str | Path,
    mask_dir: str | Path,
    reading: Reading | None = None,
    keep: bool = True,
    workers: int = 4,
    normalization: str = "standard",
    log: Callable[[str], None] = lambda line: None,
) -> list[Sample]:
    """Every annotated image of two folders; raises one `InputError` that lists everything wrong with them.

    `log` is called with the rule by which names correspond, and with the ignored files.
    """
    reading = reading or Reading()
    pairs, faults, notes = find_pairs(image_dir, mask_dir, reading.page)
    for note in notes:
        log(note)
    samples, unreadable = read_samples(pairs, reading, keep, workers, normalization)
    faults += unreadable + settle_doubts(samples) + empty_faults(samples, mask_dir)
    if faults:
        raise InputError(*faults)
    return samples


def empty_faults(samples: list[Sample], place: str | Path) -> list[str]:
    """A fault if every mask of `samples` is empty."""
    if not samples or any(len(sample.foreground) for sample in samples):
        return []
    ignore = samples[0].reading.ignore if samples[0].reading else None
    why = "" if ignore is None else f" (task.ignore={ignore} hides the pixels that are {ignore})"
    return [f"{place}: every mask is empty, so there is nothing to learn{why}"]


def pixel_bytes(pairs: Sequence[Pair], reading: Reading | None = None) -> int:
    """Memory that images and masks would take, estimated from one image and the number of files."""
    reading = reading or Reading()
    for pair in pairs:
        try:
            with open_image(pair.image, reading.page_of(pair.page), reading.channel) as file:
                pixels = file.shape[0] * file.shape[1]
                bytes_each = pixels * (reading.channels * file.dtype.itemsize + 1)
            # compressed files differ in size; scale by bytes on disk where that is larger than by count
            disk = sum(p.image.stat().st_size for p in pairs) / max(pair.image.stat().st_size, 1)
        except (InputError, OSError):
            continue
        return int(max(disk, len(pairs)) * bytes_each)
    return 0


def _pages(image: Path, stem: str, masks: dict[str, Path], free: set[str]) -> list[Pair]:
    """A pair for each page of a stack, with one mask file a page or a stack of masks; empty for a single image."""
    with open_image(image, "first") as file:
        count = file.pages
    if count == 1:
        return []
    pattern = re.compile(re.escape(stem) + r"_0*([1-9]\d*)")
    single = {int(match[1]): masks[name] for name in sorted(free) if (match := pattern.fullmatch(name))}
    if single:
        missing = [number for number in range(1, count + 1) if number not in single]
        if missing or len(single) > count:
            listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise InputError(f"{image}: {count} pages, but {len(single)} masks {stem}_N; none for page {listed or '?'}")
        return [Pair(image, single[number], number) for number in range(1, count + 1)]
    if stem not in masks:
        return []
    with MaskFile(masks[stem], 1) as mask:
        if mask.pages != count:
            raise InputError(
                f"{masks[stem]}: {mask.pages} pages, but {image.name} has {count}; expected one mask for each page"
            )
    return [Pair(image, masks[stem], number, number) for number in range(1, count + 1)]


def _mask_page(image: Path, mask: Path, page: object) -> int | str | None:
    """Which page of a stack of masks belongs to an image of which `page` is read: the same page, or ``max``."""
    if page is None or page in ("each", "channels") or mask.suffix.lower() == ".png":
        return None
    with MaskFile(mask, 1) as drawn:
        count = drawn.pages
    if count == 1:
        return None
    with open_image(image, "first") as file:
        pages = file.pages
    if pages != count:
        raise InputError(
            f"{mask}: {count} pages, but {image.name} has {pages}; expected one mask, or one mask for each page"
        )
    return 1 if page == "first" else page if isinstance(page, int) else "max"


def _have_pages(images: Iterable[str], masks: Iterable[str]) -> bool:
    """Whether masks are named as pages of an image, such as ``stack_3`` for ``stack``."""
    stems = {match[1] for name in masks if (match := re.fullmatch(r"(.+)_\d+", name))}
    return not stems.isdisjoint(images)


def _some(paths: Iterable[Path]) -> str:
    names = sorted(path.name for path in paths)
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _by_stem(
    folder: Path, suffixes: tuple[str, ...], left_out: Container[str] = ()
) -> tuple[dict[str, Path], list[Path]]:
    """Files by stem, and further files with a stem that occurred before; names in `left_out` are ignored."""
    files: dict[str, Path] = {}
    twins = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or path.name in left_out:
            continue
        if files.setdefault(path.stem, path) != path:
            twins.append(path)
    return files, twins


def _lookalike(stem: str, others: Iterable[str]) -> str | None:
    """The name in `others` that looks the same as `stem` to a person: other capitals, or another Unicode form."""

    def stem_key(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    return next((other for other in sorted(others) if stem_key(other) == stem_key(stem)), None)


def _how(stem: str, twin: str) -> str:
    same = unicodedata.normalize("NFC", stem) == unicodedata.normalize("NFC", twin)
    return "whose accents are stored in another Unicode form" if same else "with other capital letters"


def _escape(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
