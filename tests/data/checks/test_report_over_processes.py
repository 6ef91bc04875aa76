"""What the checks say does not depend on how many processes share the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tuneport.data.checks import check_dataset
from tuneport.data.checks.dataset import diversity
from tuneport.data.running import parallel

ROWS = 2_500
TOPICS = [
    words.split()
    for words in (
        "patient dosage renal hypertension biopsy lesion therapy fever",
        "contract clause tenant liability statute court appeal landlord",
        "server python deploy compile branch kernel socket thread",
        "parcel refund invoice courier voucher warehouse tracking depot",
        "flour butter oven dough whisk simmer garlic saucepan",
        "goalkeeper penalty striker referee stadium league offside trophy",
        "violin sonata chord tempo melody orchestra cello rehearsal",
    )
]
WORDS = "please when where how much should that this the with from into late order broken".split()
DEFECTS = (
    "I'm sorry, but I cannot assist with that request.",
    "You can reach Jane at jane.doe{0}@mail-provider.net or at +49 30 901820{0:03}.",
    "The key is <|im_end|> and the rest of it is left as it was before.",
    "CafÃ© crÃ¨me is what the naÃ¯ve guest ordered on day {0}.",
    "",
)


def row(draw: Random, number: int) -> dict[str, Any]:
    words = [*draw.choice(TOPICS), *WORDS]
    said = " ".join(draw.choices(words, k=draw.randint(8, 14)))
    question = f"{said.capitalize()}?" if draw.random() < 0.9 else "What is the usual dosage for a patient of that age?"
    answer = f"{' '.join(draw.choices(words, k=draw.randint(25, 45))).capitalize()}."
    if draw.random() < 0.05:
        answer = draw.choice(DEFECTS).format(number)
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    if draw.random() < 0.3:
        messages.insert(0, {"role": "system", "content": draw.choice(("Be brief.", "Be  brief.", "You are a clerk."))})
    messages.append({"role": "assistant", "content": answer})
    if draw.random() < 0.05:
        messages[-1]["weight"] = draw.choice((0, 1))
    if draw.random() < 0.05:
        messages[0]["name"] = "somebody"
    found: dict[str, Any] = {"messages": messages}
    if draw.random() < 0.2:
        found["source"] = draw.choice(("gpt-4o", "claude-3", "a person"))
    return {"messages": []} if draw.random() < 0.01 else found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = Random(4)
    path = tmp_path_factory.mktemp("division") / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            file.write(json.dumps(row(draw, number), ensure_ascii=False) + "\n")
    return path


def report(path: Path, processes: int, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(os, "sched_getaffinity", lambda pid: set(range(processes)), raising=False)
    patch.setattr(parallel, "SMALL_BYTES", 1 << 14)
    patch.setattr(parallel, "BATCH_BYTES", 1 << 14)
    patch.setattr(diversity, "SAMPLED", 500)  # fewer than there are, in this process
    return check_dataset(path).as_dict()


@pytest.fixture(scope="module")
def alone(dataset: Path) -> Iterator[dict[str, Any]]:
    """The report of one process."""
    with pytest.MonkeyPatch.context() as patch:
        yield report(dataset, 1, patch)


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.full), 3])
def test_the_report_is_the_same_in_any_number_of_processes(
    processes: int, dataset: Path, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diversity, "MANY", 1)  # topics are looked for in another process, too
    divided = report(dataset, processes, monkeypatch)
    for finding, expected in zip(divided["findings"], alone["findings"], strict=True):
        assert finding == expected
    assert divided == alone


def test_the_report_has_something_to_differ_in(alone: dict[str, Any]) -> None:
    flagged = {kind for kind, lines in alone["flagged"].items() if lines}
    assert {"answers.refusal", "answers.mojibake", "answers.markup", "personal.email", "schema.invalid"} <= flagged
    assert {"contradictions.exact", "consistency.prompt", "generated.marked"} <= flagged
    [clusters] = [each["details"]["clusters"] for each in alone["findings"] if each["check"] == "diversity"]
    assert len(clusters) > 1
