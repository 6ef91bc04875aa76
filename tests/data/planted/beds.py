"""The beds: about 1,500 rows each, with 200 defects of each kind that belongs together, no row with two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.data.planted import answers, copies, identities, refusals, residue, structured
from tests.data.planted.base import composed, mixed
from tests.data.planted.planting import Bed, Planting, grow

SEED = 20_261_124
CLOSING = frozenset(("closing offer",))
"""Judgement: a support team may want its closing offer in every answer."""
PLACEHOLDER = frozenset(("placeholder",))
"""Judgement: `-` or `N/A` can be what the model is to say."""


def nothing_and_cut(folder: Path | None) -> Bed:
    return grow(
        "empty, untrained, truncated",
        mixed(folder, 1_500, 1),
        [
            Planting("answers.truncated", answers.truncated),
            Planting("answers.empty", answers.empty, lenient=PLACEHOLDER),
            Planting("answers.untrained", answers.untrained),
        ],
        SEED,
    )


def said_badly(folder: Path | None) -> Bed:
    return grow(
        "refusals, boilerplate",
        mixed(folder, 1_500, 2),
        [
            Planting("answers.refusal", refusals.boilerplate, 240, lenient=CLOSING),
            Planting("answers.refusal", refusals.refusal),
        ],
        SEED,
    )


def characters(folder: Path | None) -> Bed:
    return grow(
        "mojibake, markup",
        mixed(folder, 1_800, 3),
        [Planting("answers.markup", residue.markup), Planting("answers.mojibake", residue.mojibake)],
        SEED,
    )


def languages(folder: Path | None) -> Bed:
    return grow(
        "language, loops",
        mixed(folder, 1_800, 4),
        [Planting("answers.loop", answers.repeated), Planting("answers.language", answers.other_language)],
        SEED,
    )


def overlong(folder: Path | None) -> Bed:
    """Half as dense as the others: what is over-long shows only against what is usual."""
    return grow("over-long", mixed(folder, 2_500, 5), [Planting("answers.overlong", answers.overlong)], SEED)


def json_answers(_: Path | None) -> Bed:
    plantings = [Planting("consistency.json", structured.broken_fields)]
    return grow("JSON answers", structured.orders(1_500, 6), plantings, SEED)


def label_spellings(_: Path | None) -> Bed:
    plantings = [Planting("consistency.labels", structured.other_spelling)]
    return grow("labels", structured.labelled(1_500, 7), plantings, SEED)


def system_prompts(_: Path | None) -> Bed:
    plantings = [
        Planting("consistency.prompt", structured.system_by_accident),
        Planting("consistency.roles", structured.odd_roles),
    ]
    return grow("system prompts, roles", structured.prompted(composed(1_500, 8), 8), plantings, SEED)


def schema(folder: Path | None) -> Bed:
    return grow("schema", mixed(folder, 1_500, 9), [Planting("schema.invalid", structured.invalid)], SEED)


def exact_duplicates(_: Path | None) -> Bed:
    plantings = [Planting("duplicates.exact", copies.exact_copy, where="beside")]
    return grow("exact duplicates", composed(1_300, 10), plantings, SEED)


def near_duplicates(_: Path | None) -> Bed:
    """200 at each of three similarities."""
    base = composed(1_500, 11, contexts=(5, 7), sentences=(6, 10))
    return grow("near duplicates", base, [Planting("duplicates.near", copies.near_copy, 600, "beside")], SEED)


def contradictions(_: Path | None) -> Bed:
    plantings = [
        Planting("contradictions.near", copies.near_contradiction, where="beside"),
        Planting("contradictions.exact", copies.contradiction, where="beside"),
    ]
    return grow("contradictions in prose", composed(1_300, 12, contexts=(3, 6)), plantings, SEED)


def label_contradictions(_: Path | None) -> Bed:
    plantings = [Planting("contradictions.exact", copies.contradiction, where="beside")]
    return grow("contradictions in labels", structured.labelled(1_300, 13), plantings, SEED)


def leaks(_: Path | None) -> Bed:
    plantings = [
        Planting("holdout.near", copies.near_copy, where="leak"),
        Planting("holdout.exact", copies.exact_copy, where="leak"),
    ]
    bed = grow("hold-out", composed(1_500, 14, contexts=(5, 7), sentences=(6, 10)), plantings, SEED)
    bed.validation += composed(200, 15, contexts=(5, 7), sentences=(6, 10))
    Random(SEED).shuffle(bed.validation)
    return bed


def personal(folder: Path | None) -> Bed:
    plantings = [
        Planting(f"personal.{entity}", identities.planter(entity), 40, lenient=identities.LENIENT)
        for entity in identities.ENTITIES
    ]
    return grow("personal data", mixed(folder, 1_600, 16), plantings, SEED)


def lengths(folder: Path | None) -> Bed:
    plantings = [Planting("lengths.over", structured.over_context)]
    return grow("lengths", mixed(folder, 1_500, 17), plantings, SEED, context=1_024)


def generated(_: Path | None) -> Bed:
    plantings = [Planting("generated.marked", structured.marked_generated)]
    return grow("generated", structured.unmarked(composed(1_500, 18), 18), plantings, SEED)


BEDS: dict[str, Callable[[Path | None], Bed]] = {
    bed.__name__: bed
    for bed in (
        schema, nothing_and_cut, said_badly, characters, languages, overlong, json_answers, label_spellings,
        system_prompts, exact_duplicates, near_duplicates, contradictions, label_contradictions, leaks, personal,
        lengths, generated,
    )
}  # fmt: skip
"""By name, what grows each bed; it is handed the folder of the shared datasets, or None."""
