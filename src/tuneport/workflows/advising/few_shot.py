"""Drawing of rows and examples: which rows are asked, which examples are shown before them, and the instruction."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tuneport.data.checks import CheckReport
from tuneport.data.checks.near.minhash import SIMILAR, jaccard_similarity, minhash_word_pairs
from tuneport.data.checks.near.near_duplicates import ALIKE_IN_TEMPLATE
from tuneport.data.checks.rows.shapes import parse_row_answer_json, strip_row_code_fence
from tuneport.data.dataset import Dataset
from tuneport.data.rows.text import normalise_record_text, normalised_text_key
from tuneport.errors import ConfigError
from tuneport.openai_encodings import load_openai_encoding
from tuneport.scoring.examples import Example, make_scoring_example

SHOTS = 4  # if there are no classes
MOST_SHOTS = 16
MOST_SHOT_TOKENS = 3_000  # so that small models have room for the question
MOST_LABELS = 60  # that an instruction names
CANDIDATES = 12  # for each shot that is wanted
COUNTED_WITH = "o200k_base"
PER_MESSAGE = 4  # tokens of markup


@dataclass(frozen=True)
class ProbeSample:
    """`rows` are the held-out ones, with the `instruction`; `of`: how many there were to draw from.

    `nearest`: how much the input of a shot is like that of any row, at the most (Jaccard index of word pairs).
    """

    rows: tuple[Example, ...]
    of: int
    shots: tuple[Example, ...]
    nearest: float
    instruction: str


def draw_probe_sample(
    report: CheckReport, *, validation: Dataset | None, rows: int, seed: int, system: str | None
) -> ProbeSample:
    """Draw the rows and shots; see `probing.plan_probe`."""
    lots = random.Random(seed)
    by_label = report.classes is not None
    pools, asked = _ProbeShotPools(lots, by_label=by_label), _ProbeReservoir(lots, rows)
    known: set[int] = set()
    for example in _examples(report.dataset):
        pools.add(example)
        if validation is None and _new(example, known):
            asked.add(example)
    if validation is not None:
        for example in _examples(validation):
            if _new(example, known):
                asked.add(example)
    if not asked.taken:
        raise ConfigError(
            f"{(validation or report.dataset).path} has no record that is a question and its answer in plain text, so "
            "there is nothing to probe with"
        )
    candidates = pools.draw_in_rounds()
    shots, nearest = _far_from(asked.taken, candidates, MOST_SHOTS if by_label else SHOTS)
    shots = _fitting(shots)
    instruction = "" if system is not None else _instruction(report, asked.taken, candidates)
    told = tuple(_instructed(each, system, instruction) for each in asked.taken)
    return ProbeSample(told, asked.seen, tuple(shots), nearest if shots else 0.0, instruction)


def draw_few_shot_examples(rows: Sequence[Example], dataset: Dataset, *, by_label: bool, seed: int) -> list[Example]:
    """Return examples of `dataset` to show before the `rows`; none of them equals a row or nearly so. If there are
    labels, each label has one. The same file, rows and seed give the same ones."""
    pools = _ProbeShotPools(random.Random(seed), by_label=by_label)
    for example in _examples(dataset):
        pools.add(example)
    shots, _ = _far_from(rows, pools.draw_in_rounds(), MOST_SHOTS if by_label else SHOTS)
    return _fitting(shots)


class _ProbeReservoir:
    """`size` of all that is added, each as likely as any other (Vitter's algorithm R)."""

    def __init__(self, lots: random.Random, size: int) -> None:
        self._lots, self._size = lots, size
        self.seen = 0
        self.taken: list[Example] = []

    def add(self, example: Example) -> None:
        self.seen += 1
        if len(self.taken) < self._size:
            self.taken.append(example)
        elif (place := self._lots.randrange(self.seen)) < self._size:
            self.taken[place] = example


class _ProbeShotPools:
    """Candidates for shots: some of each label if there are labels, else some of all."""

    def __init__(self, lots: random.Random, *, by_label: bool) -> None:
        self._lots, self._by_label = lots, by_label
        self._pools: dict[str, _ProbeReservoir] = {}

    def add(self, example: Example) -> None:
        label = normalise_record_text(example.expected) if self._by_label else ""
        if label not in self._pools and len(self._pools) < 4 * MOST_SHOTS:
            self._pools[label] = _ProbeReservoir(self._lots, CANDIDATES if self._by_label else CANDIDATES * SHOTS)
        if label in self._pools:
            self._pools[label].add(example)

    def draw_in_rounds(self) -> list[Example]:
        """Return candidates in rounds: one for each label, then a second one for each, the commonest labels first."""
        pools = sorted(self._pools.values(), key=lambda pool: -pool.seen)
        if not self._by_label:
            return [example for pool in pools for example in pool.taken]
        return [pool.taken[place] for place in range(CANDIDATES) for pool in pools if place < len(pool.taken)]


def _examples(dataset: Dataset) -> Iterator[Example]:
    for _, record in dataset.records():
        if (example := make_scoring_example(record)) is not None:
            yield example


def _new(example: Example, known: set[int]) -> bool:
    key = normalised_text_key(normalise_record_text(_input(example)))
    if key in known:
        return False
    known.add(key)
    return True


def _input(example: Example) -> str:
    return "\n".join(str(each["content"]) for each in example.messages if each["role"] != "system")


def _far_from(rows: Sequence[Example], candidates: Sequence[Example], wanted: int) -> tuple[list[Example], float]:
    """Return shots with different answers whose input is unlike all rows, and the highest likeness among them.

    Inputs made from one template share most of their words: if no others are left, more likeness is allowed, but never
    the same input.
    """
    asked = {normalise_record_text(_input(row)) for row in rows}
    pairs = [minhash_word_pairs(text) for text in asked]
    compared = []
    for each in candidates:
        text = normalise_record_text(_input(each))
        if text not in asked:
            compared.append(
                (each, max((jaccard_similarity(minhash_word_pairs(text), other) for other in pairs), default=0.0))
            )
    for limit in (SIMILAR, ALIKE_IN_TEMPLATE):
        chosen: dict[str, tuple[Example, float]] = {}
        for each, near in compared:
            key = normalise_record_text(each.expected)
            if near < limit and key not in chosen and len(chosen) < wanted:
                chosen[key] = each, near
        if chosen:
            return [each for each, _ in chosen.values()], max(near for _, near in chosen.values())
    return [], 0.0


def _fitting(shots: Sequence[Example]) -> list[Example]:
    kept, total = [], 0
    for shot in shots:
        total += count_probe_sample_tokens([_input(shot), shot.expected])
        if total > MOST_SHOT_TOKENS:
            break
        kept.append(shot)
    return kept


def _instruction(report: CheckReport, rows: Sequence[Example], examples: Iterable[Example]) -> str:
    """Return the obvious instruction of a prompt: the labels, or the keys. It is empty if the prompts have them."""
    shown = [" ".join(str(message["content"]) for message in row.messages) for row in rows[:10]]
    if report.classes is not None:
        names = list(report.classes)
        if len(names) > MOST_LABELS or all(name in text for text in shown for name in names):
            return ""
        return f"Answer with exactly one of these labels and nothing else: {', '.join(names)}."
    if report.task == "extraction":
        keys: list[str] = []
        for example in examples:
            inside = strip_row_code_fence(example.expected)
            value = parse_row_answer_json(example.expected if inside is None else inside)
            keys += [str(key) for key in value if str(key) not in keys] if isinstance(value, dict) else []
        if keys and not all(f'"{key}"' in text for text in shown for key in keys):
            return f"Answer with one JSON object and nothing else, with the keys: {', '.join(keys)}."
    return ""


def _instructed(example: Example, system: str | None, instruction: str) -> Example:
    first = example.messages[0]
    has_system = first["role"] == "system"
    said = str(first["content"]) if has_system else ""
    if system is not None:
        said = system
    if instruction:
        said = f"{said}\n{instruction}".strip()
    if not said:
        return example
    return replace(example, messages=[{"role": "system", "content": said}, *example.messages[1 if has_system else 0 :]])


def count_probe_sample_tokens(texts: Iterable[str]) -> int:
    return sum(len(load_openai_encoding(COUNTED_WITH).encode_ordinary(text)) + PER_MESSAGE for text in texts)
