"""Find the rule that maps names of images to names of masks: ``c1`` and ``c1_mask``.

A rule replaces one constant part of every name: before, after or within the part that differs between files. It is
only needed if no mask has the name of an image, and only used if no other rule fits.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

MASK_WORDS = re.compile(
    "masks?|msks?|labels?|labell?ed|lbl|labelmap|segs?|segm|segmentations?|segmented|gt|(ground)?truth|annotations?|"
    "annotated|ann?o?|manual|targets?|binary|bin|rois?"
)
"""Words in the name of a file that identify it as a mask."""

IMAGE_WORDS = re.compile("images?|imgs?|im|raw|orig|originals?|inputs?|photos?|pictures?|pics?|training|test")
"""Words in the name of a file that identify it as an image."""

_LOOKED_AT = 5  # images whose masks are looked for, spread over the set
_NEAREST = 300  # names of masks compared with each
_TRIED = 200  # rules tried on all names


class Rule(NamedTuple):
    """Image names are ``before + core + behind``, mask names ``mask_before + core + mask_behind``.

    With `within`, the part `before`, anywhere in an image's name, is `mask_before` in that of its mask.
    """

    before: str
    behind: str
    mask_before: str
    mask_behind: str
    within: bool = False

    def mask_of(self, image: str) -> str | None:
        """The mask's stem for an image's stem; None if the rule does not fit it."""
        if self.within:
            return image.replace(self.before, self.mask_before) if image.count(self.before) == 1 else None
        length = len(self.before) + len(self.behind)
        if len(image) <= length or not (image.startswith(self.before) and image.endswith(self.behind)):
            return None
        return self.mask_before + image[len(self.before) : len(image) - len(self.behind)] + self.mask_behind

    @property
    def patterns(self) -> tuple[str, str]:
        """Patterns of image and mask names, with a star for the part that differs between files."""
        if self.within:
            return f"*{self.before}*", f"*{self.mask_before}*"
        return f"{self.before}*{self.behind}", f"{self.mask_before}*{self.mask_behind}"

    @property
    def says_mask(self) -> bool:
        """Whether the part that occurs only in the names of masks identifies them as masks."""
        return _has_word(f"{self.mask_before} {self.mask_behind}", MASK_WORDS)

    @property
    def is_plain(self) -> bool:
        """Whether the rule only adds to names, or its parts identify which files are masks or which are images."""
        added = not (self.before or self.behind) or not (self.mask_before or self.mask_behind)
        return added or self.says_mask or _has_word(f"{self.before} {self.behind}", IMAGE_WORDS)


def find_rules(images: Collection[str], masks: Collection[str]) -> list[tuple[Rule, dict[str, str]]]:
    """The rules by which most images have a mask, each with the masks' names by the images'; one for each pairing.

    Rules that leave half of the images without a mask are dropped. If exactly one of several rules identifies masks by
    their names, it is the only result.
    """
    ordered = sorted(images)
    looked_at = [ordered[index * len(ordered) // _LOOKED_AT] for index in range(min(_LOOKED_AT, len(ordered)))]
    looked_at = list(dict.fromkeys(looked_at)) if len(ordered) >= _LOOKED_AT else ordered
    counts = Counter(rule for image in looked_at for mask in _near(image, masks) for rule in set(_between(image, mask)))
    matched: dict[tuple[tuple[str, str], ...], Rule] = {}
    most = len(images) // 2
    known = set(masks)
    for rule, _ in counts.most_common(_TRIED):
        pairs = {image: mask for image in ordered if (mask := rule.mask_of(image)) in known and mask is not None}
        if len(pairs) < max(most, 1) or 2 * len(pairs) <= len(images) or len(set(pairs.values())) < len(pairs):
            continue
        if len(pairs) > most:
            most, matched = len(pairs), {}
        matched.setdefault(tuple(pairs.items()), rule)
    rules = [(rule, dict(pairs)) for pairs, rule in matched.items()]
    telling = [(rule, pairs) for rule, pairs in rules if rule.says_mask]
    return telling if len(telling) == 1 else rules


def _near(image: str, masks: Collection[str]) -> Sequence[str]:
    """Candidates for the mask of an image: those that share a number with it, if any, most similar in length first."""
    numbers = set(re.findall(r"\d+", image))
    sharing = [mask for mask in masks if not numbers.isdisjoint(re.findall(r"\d+", mask))] or masks
    return sorted(sharing, key=lambda mask: (abs(len(mask) - len(image)), mask))[:_NEAREST]


def _between(image: str, mask: str) -> Iterator[Rule]:
    """The rules that map one name to the other."""
    front = next((k for k, (a, b) in enumerate(zip(image, mask, strict=False)) if a != b), min(len(image), len(mask)))
    rest = min(len(image), len(mask)) - front
    back = next((k for k in range(rest) if image[-1 - k] != mask[-1 - k]), rest)
    old, new = image[front : len(image) - back], mask[front : len(mask) - back]
    if front and back:
        if old and new and not re.search(r"\d", old + new):
            yield Rule(old, "", new, "", within=True)
    elif front or back:
        yield from _whole(Rule(old, "", new, "") if back else Rule("", old, "", new), image)
    for i, m, length in SequenceMatcher(None, image, mask, autojunk=False).get_matching_blocks()[:-1]:
        yield from _whole(Rule(image[:i], image[i + length :], mask[:m], mask[m + length :]), image)


def _whole(rule: Rule, image: str) -> Iterator[Rule]:
    """The rule, unless it splits a number or adds only a number, which would be that of a page or object."""
    core = image[len(rule.before) : len(image) - len(rule.behind)]
    before, behind = (rule.before[-1:], rule.mask_before[-1:]), (rule.behind[:1], rule.mask_behind[:1])
    cut = (core[:1].isdigit() and any(map(str.isdigit, before))) or (
        core[-1:].isdigit() and any(map(str.isdigit, behind))
    )
    added = rule.mask_before + rule.mask_behind
    number = re.search(r"\d", added) and not re.search(r"[^\W\d_]", added)
    if not cut and not number:
        yield rule


def _has_word(text: str, words: re.Pattern[str]) -> bool:
    return any(words.fullmatch(word.lower()) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text))
