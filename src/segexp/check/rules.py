"""Judge the statistics of all files: a table of each split, faults, warnings, and settings that would suit the data.

A fault prevents training, a warning does not. Every limit that triggers a warning is a constant at the top.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from segexp.check.near_duplicates import Alike, equal_images, equal_masks
from segexp.check.report import Fault, Finding, Mention, SplitSummary, Spread, Suggestion
from segexp.check.scan import Entry
from segexp.data.reading import Reading

SATURATED = 0.01
"""Share of an image's pixels at the camera's ceiling from which it counts as saturated."""
RARE = 0.01
"""Share of foreground below which more crops should be placed on it."""
DOMINANT = 0.9
"""Share of foreground above which a mask looks inverted."""
LONG, COMPACT = 10.0, 6.0
"""Area of an object in squares of its width: above the first it is a filament, below the second a blob (disc: 1.8)."""
SHIFT = 4.0
"""Factor between the splits' median intensities or foreground shares from which they are reported as different."""
SCALES = 1.25
"""Factor between the pixel sizes of images from which they are of different scales."""
FEW = 5
"""Fewer training images than this lead to a warning."""


def summarize(entries: Sequence[Entry]) -> SplitSummary:
    """The table of one split."""
    images = [entry.image for entry in entries if entry.image is not None]
    masks = [entry.mask for entry in entries if entry.mask is not None]
    quantiles = np.array([facts.quantiles for facts in images])
    areas = np.concatenate([facts.areas for facts in masks]) if masks else np.zeros(0)
    counts = np.sum([facts.class_pixels for facts in masks], axis=0) if masks else np.zeros(1)
    sizes = Counter(f"{facts.shape[1]}x{facts.shape[2]}" for facts in images)
    intensity = None
    if images:
        middle = np.median(quantiles[:, 1:4], axis=0)
        intensity = (quantiles[:, 0].min(), *middle, quantiles[:, 4].max())
    return SplitSummary(
        images=len(images),
        masks=len(masks),
        sizes=dict(sizes.most_common()),
        dtypes=dict(Counter(facts.dtype for facts in images).most_common()),
        channels=dict(Counter(str(facts.shape[0]) for facts in images).most_common()),
        intensity=tuple(float(value) for value in intensity) if intensity else None,
        saturated=_spread(facts.saturated for facts in images),
        foreground=_spread(facts.foreground for facts in masks),
        class_shares=tuple(float(count / max(counts.sum(), 1)) for count in counts[1:]),
        empty_masks=sum(not any(facts.class_pixels[1:]) for facts in masks),
        ignored=float(np.mean([facts.ignored for facts in masks])) if masks else 0.0,
        objects=sum(facts.objects for facts in masks),
        diameter=_spread(2 * np.sqrt(areas / np.pi), 0.05, 0.95) if len(areas) else None,
        width=_spread(facts.width for facts in masks if facts.width > 0),
        pixel_size=_spread(sum(e.pixel_size) / 2 for e in entries if e.pixel_size is not None),
        unknown_scale=sum(e.pixel_size is None for e in entries if e.image is not None),
        length=_spread(facts.middle / facts.width**2 for facts in masks if facts.width > 0),
    )


def split_faults(splits: dict[str, SplitSummary], folders: Mapping[str, str]) -> list[Fault]:
    """Faults of splits from which nothing can be learned; a validation split may be without foreground."""
    return [
        Fault("split", folders[name], "every mask is empty, so there is nothing to learn; expected some foreground")
        for name, split in splits.items()
        if name != "val" and split.masks and split.empty_masks == split.masks
    ]


def find_warnings(
    entries: Sequence[Entry],
    splits: dict[str, SplitSummary],
    alike: Sequence[Alike],
    classes: Sequence[str],
    reading: Reading,
) -> list[Finding]:
    """All warnings, the gravest first."""
    channels, rescaled = reading.channels, reading.pixel_size is not None
    return [
        *_leakage(entries, alike),
        *_copies(entries, alike),
        *_masks(entries, splits, classes),
        *_turned(entries),
        *_intensities(entries),
        *_colours(entries, channels),
        *_scales(splits, rescaled),
        *_differences(splits),
    ]


def suggest(splits: dict[str, SplitSummary], crop: int) -> list[Suggestion]:
    """Settings that suit the data better than the defaults; `crop` is the current side of the crops."""
    suggestions: list[Suggestion] = []
    main = splits.get("train") or next(iter(splits.values()), None)
    if main is None or main.diameter is None or main.width is None or main.length is None:
        return suggestions
    width, length = main.width.median, main.length.median
    inverted = sum(main.class_shares) > DOMINANT  # such masks say nothing about the objects
    if not inverted and length > LONG:
        reason = f"the objects are long and thin: {width:.2g} pixels wide, {length:.0f} times as long"
        suggestions.append(Suggestion("task=cytoskeleton", reason))
    elif not inverted and length < COMPACT:
        reason = f"the objects are compact: {width:.2g} pixels wide, {length:.2g} times as long"
        suggestions.append(Suggestion("task=vesicle", reason))
    share = sum(main.class_shares)
    if 0 < share < RARE:
        reason = f"only {_percent(share)} of the pixels are foreground; this places more crops on it"
        suggestions.append(Suggestion("task.foreground=0.8", reason))
    smallest = 0 if not main.sizes else min(min(map(int, size.split("x"))) for size in main.sizes)
    large = main.diameter.high if length < COMPACT else 16 * width
    crop_size = int(min(2 * large, 1024, smallest) // 32 * 32)
    if large > crop / 2 and crop_size > crop:
        reason = f"objects are up to {large:.0f} pixels long; a crop should hold a whole object"
        suggestions.append(Suggestion(f"task.crop={crop_size}", reason))
    return suggestions


def _leakage(entries: Sequence[Entry], alike: Sequence[Alike]) -> list[Finding]:
    copied: dict[str, Mention] = {}
    for group in equal_images(entries):
        in_train = tuple(entries[i].source.image_name for i in group if entries[i].split == "train")
        for i in group:
            if in_train and entries[i].split == "val":
                name = entries[i].source.image_name
                copied[name] = Mention(name, "equal pixels", in_train)
    for pair in alike:
        first, second = sorted((entries[pair.first], entries[pair.second]), key=lambda entry: entry.split)
        if (first.split, second.split) == ("train", "val"):
            how = "mirrored or turned" if pair.turn else "the same image with other values"
            name = second.source.image_name
            copied.setdefault(name, Mention(name, how, (first.source.image_name,)))
    if not copied:
        return []
    message = f"{_count(len(copied), 'validation image')} also in the training images: the score will be too high"
    return [Finding("leakage", message, "remove them from one of the two", tuple(copied.values()))]


def _copies(entries: Sequence[Entry], alike: Sequence[Alike]) -> list[Finding]:
    def together(indices: Iterable[int]) -> bool:
        return len({entries[i].split for i in indices}) == 1

    def mention(paths: Sequence[str], note: str) -> Mention:
        return Mention(paths[0], note, tuple(paths[1:]))

    findings = []
    groups = [group for group in equal_images(entries) if together(group)]
    if groups:
        files = tuple(mention([entries[i].source.image_name for i in group], "equal pixels") for group in groups)
        message = f"{_count(len(groups), 'image')} saved more than once, with equal pixels"
        findings.append(Finding("duplicate", message, "keep one of each; duplicates count twice", files))
    near = [pair for pair in alike if together((pair.first, pair.second))]
    if near:
        paths = [(entries[pair.first].source.image_name, entries[pair.second].source.image_name) for pair in near]
        files = tuple(mention(two, f"{_percent(p.likeness)} alike") for two, p in zip(paths, near, strict=True))
        message = f"{_count(len(near), 'pair')} of nearly identical images"
        findings.append(Finding("near-duplicate", message, "frames of one scene belong in one split", files))
    groups = equal_masks(entries)
    if groups:
        files = tuple(mention([entries[i].source.mask_name for i in group], "equal masks") for group in groups)
        message = f"{_count(len(groups), 'mask')} shared by images that differ"
        findings.append(Finding("same-mask", message, "check whether a mask was saved under the wrong name", files))
    return findings


def _masks(entries: Sequence[Entry], splits: dict[str, SplitSummary], classes: Sequence[str]) -> list[Finding]:
    findings = []
    empty = [
        Mention(e.source.mask_name, "empty") for e in entries if e.mask is not None and not any(e.mask.class_pixels[1:])
    ]
    masks = sum(split.masks for split in splits.values())
    if empty and len(empty) < masks:
        message = f"{_count(len(empty), 'mask')} of {masks} without any foreground"
        advice = "correct if the images show no objects; otherwise annotate them"
        findings.append(Finding("empty-mask", message, advice, tuple(empty)))
    val = splits.get("val")
    if val is not None and val.masks and val.empty_masks == val.masks:
        message = (
            f"every validation mask is empty ({_count(val.masks, 'mask')}): no score can measure how well "
            "objects are found"
        )
        advice = "choose validation images with foreground: another data.fold, seed or data.split, or data.group"
        findings.append(Finding("empty-validation", message, advice))
    full = [
        Mention(e.source.mask_name, f"{_percent(e.mask.foreground)} foreground")
        for e in entries
        if e.mask is not None and e.mask.foreground > DOMINANT
    ]
    if full:
        message = f"{_count(len(full), 'mask')} with more than {_percent(DOMINANT)} foreground"
        advice = "check whether foreground and background are swapped; if so, invert them (in Fiji: Edit > Invert)"
        findings.append(Finding("inverted-mask", message, advice, tuple(full)))
    for name, split in splits.items():
        for label, share in enumerate(split.class_shares, 1):
            if share == 0 and len(classes) > 1 and split.masks:
                message = f"no pixel of class {label} ({classes[label - 1]}) in {name}"
                findings.append(Finding("missing-class", message, "the class can be neither learned nor scored there"))
    return findings


def _turned(entries: Sequence[Entry]) -> list[Finding]:
    files = tuple(Mention(e.source.image_name, f"orientation {e.orientation}") for e in entries if e.orientation != 1)
    if not files:
        return []
    message = f"{_count(len(files), 'image')} with an EXIF orientation; they are read as stored, not rotated"
    advice = "check whether their masks were drawn on the rotated image; if so, save the images rotated"
    return [Finding("orientation", message, advice, files)]


def _intensities(entries: Sequence[Entry]) -> list[Finding]:
    kinds: defaultdict[str, list[tuple[float, Mention]]] = defaultdict(list)
    for entry in entries:
        facts = entry.image
        if facts is None:
            continue
        name, low, high = entry.source.image_name, facts.quantiles[0], facts.quantiles[-1]
        if facts.constant:
            kinds["constant"].append((0, Mention(name, f"all {high:g}")))
        elif facts.values == 2:
            kinds["two-valued"].append((0, Mention(name, f"{low:g} and {high:g}")))
        elif facts.saturated > SATURATED:
            kinds["saturated"].append((-facts.saturated, Mention(name, f"{_percent(facts.saturated)} at {high:g}")))
        if facts.dtype == "uint16" and low < high <= 255:
            kinds["8-bit-range"].append((high, Mention(name, f"up to {high:g}")))
    words = {
        "constant": ("that have a single value everywhere and show nothing", "check how they were exported"),
        "two-valued": ("that have two values only, like a mask", "check whether images and masks are swapped"),
        "saturated": (
            f"with more than {_percent(SATURATED)} of their pixels at the camera's limit",
            "use a shorter exposure; clipped intensities cannot be recovered",
        ),
        "8-bit-range": (
            "with 16 bits but no value above 255",
            "they were probably converted to 8 bits before: use the originals if available",
        ),
    }
    findings = []
    for kind, (what, advice) in words.items():
        if kinds[kind]:
            files = tuple(file for _, file in sorted(kinds[kind], key=lambda item: (item[0], item[1].file)))
            findings.append(Finding(kind, f"{_count(len(files), 'image')} {what}", advice, files))
    return findings


def _colours(entries: Sequence[Entry], channels: int) -> list[Finding]:
    colour = [e for e in entries if e.image is not None and not e.image.grey]
    if not colour or channels != 1:
        return []
    message = f"{_count(len(colour), 'image')} in colour, converted to grey by 0.299 red + 0.587 green + 0.114 blue"
    return [
        Finding(
            "colour", message, "data.channels=3 keeps the colours", tuple(Mention(e.source.image_name) for e in colour)
        )
    ]


def _scales(splits: dict[str, SplitSummary], rescaled: bool) -> list[Finding]:
    known = [split.pixel_size for split in splits.values() if split.pixel_size is not None]
    if not known or rescaled:
        return []
    low, high = min(spread.low for spread in known), max(spread.high for spread in known)
    findings = []
    if high > SCALES * low:
        middle = known[0].median
        message = (
            f"the pixel size ranges from {low:.3g} to {high:.3g} µm, so objects of the same size cover different "
            "numbers of pixels"
        )
        findings.append(Finding("mixed-scale", message, f"task.pixel_size={middle:.3g} brings all images to one scale"))
    unknown = sum(split.unknown_scale for split in splits.values())
    if unknown:
        message = f"{_count(unknown, 'image')} without a pixel size, although the others state one"
        findings.append(Finding("unknown-scale", message, "check whether all were taken at the same magnification"))
    return findings


def _differences(splits: dict[str, SplitSummary]) -> list[Finding]:
    findings = []
    for name, split in splits.items():
        if len(split.dtypes) > 1:
            listed = ", ".join(f"{count} {dtype}" for dtype, count in split.dtypes.items())
            message = f"{name} mixes pixel types: {listed}"
            findings.append(Finding("mixed-dtype", message, "export all images in the same way"))
    train, val = splits.get("train"), splits.get("val")
    if train is not None and 0 < train.images < FEW:
        message = f"only {_count(train.images, 'training image')}"
        advice = "variety matters more than the number of pixels: annotate small parts of many images"
        findings.append(Finding("few-images", message, advice))
    if train is None or val is None or not train.images or not val.images:
        return findings
    if not set(train.dtypes) & set(val.dtypes):
        message = f"train holds {', '.join(train.dtypes)} and val {', '.join(val.dtypes)}"
        findings.append(Finding("split-dtype", message, "export both in the same way"))
    elif train.intensity and val.intensity:
        spans = [max(s[3] - s[1], 1e-9) for s in (train.intensity, val.intensity)]
        if max(spans) > SHIFT * min(spans):
            message = f"the splits differ in brightness: contrasts of {spans[0]:.3g} in train and {spans[1]:.3g} in val"
            findings.append(
                Finding("split-brightness", message, "check whether both were taken and exported in the same way")
            )
    if train.foreground and val.foreground:
        shares = [max(sum(split.class_shares), 1e-6) for split in (train, val)]
        if max(shares) > SHIFT * min(shares):
            message = f"the splits differ in foreground: {_percent(shares[0])} in train, {_percent(shares[1])} in val"
            findings.append(Finding("split-foreground", message, "mix the images before dividing them"))
    return findings


def _spread(values: Iterable[float], low: float = 0.0, high: float = 1.0) -> Spread | None:
    array = np.array(list(values), np.float64)
    if not len(array):
        return None
    return Spread(*(float(value) for value in np.quantile(array, (low, 0.5, high))))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
