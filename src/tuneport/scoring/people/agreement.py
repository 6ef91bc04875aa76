"""The agreement of raters beyond chance: 1 is always, 0 as often as chance would have it, below 0 less often.

Cohen's kappa (1960) for two raters who judged the same items; Krippendorff's alpha (2004, nominal) for any number of
raters and with gaps. For reading them: above 0.8 is what one relies on, below 0.67 tentative conclusions at best
(Krippendorff's own customary limits).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Compute (po - pe) / (1 - pe) over the labels of two raters for each item; `pe` from each rater's own shares.

    Returns None if it is not defined: no items, or both gave the same single label throughout.
    """
    if not pairs:
        return None
    total = len(pairs)
    observed = sum(one == other for one, other in pairs) / total
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[label] * second[label] for label in first) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorffs_alpha(items: Iterable[Sequence[Hashable]]) -> float | None:
    """Compute 1 - Do/De over all labels of each item; items with fewer than two labels do not count.

    Do is the share of differing pairs within items, each item weighted by its labels; De that among all of these
    labels. Returns None if it is not defined: no item with two labels, or one label throughout.
    """
    labels: Counter[Hashable] = Counter()
    differing = 0.0
    for item in items:
        if len(item) < 2:
            continue
        counts = Counter(item)
        labels.update(counts)
        differing += (len(item) ** 2 - _squares(counts)) / (len(item) - 1)
    total = labels.total()
    among_all = total**2 - _squares(labels)
    return None if not among_all else 1 - differing * (total - 1) / among_all


def same_share(items: Iterable[Sequence[Hashable]]) -> float | None:
    """Return the share of label pairs within items that agree, or None if no item has two labels."""
    pairs = same = 0
    for item in items:
        counts = Counter(item)
        pairs += len(item) * (len(item) - 1)
        same += _squares(counts) - len(item)
    return same / pairs if pairs else None


def _squares(counts: Mapping[Hashable, int]) -> int:
    return sum(count * count for count in counts.values())
