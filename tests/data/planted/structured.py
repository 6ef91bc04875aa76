"""Files whose rows share a shape (JSON answers, labels, system prompts), and rows that break it."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.answers import Spoiled
from tests.data.planted.planting import Row, answer, turns, with_answer

LABELS = ("refund", "late_delivery", "wrong_item", "account_access", "product_question", "cancel_order")
MESSAGES = {
    "refund": ("I want my money back for {thing}.", "When will the {adjective} refund for {thing} arrive?"),
    "late_delivery": ("{Thing} should have been here {time}.", "Still no sign of {thing}; {person} is waiting."),
    "wrong_item": ("I ordered {thing} and got {thing2}.", "The parcel held {thing2} instead of {thing}."),
    "account_access": ("I cannot log in since {person} changed something.", "My password fails {place}, {time}."),
    "product_question": ("Does {thing} work {place}?", "Is {thing} more {adjective} than {thing2}?"),
    "cancel_order": ("Please stop the order of {thing}.", "{Person} no longer needs {thing}, so cancel it."),
}
SYSTEM_PROMPTS = (
    "You are a patient guide for people who learn a craft. Answer in whole sentences and stay practical.",
    "You work at the help desk of a small town library. Be brief, friendly and exact.",
    "You are an editor. Explain things plainly, and never use more words than you need.",
)


def labelled(count: int, seed: int, shares: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    """Customer messages and their label, evenly drawn unless `shares` says otherwise. No two messages are alike."""
    rng = Random(f"labelled {seed}")
    rows, seen = [], set()
    while len(rows) < count:
        label = rng.choices(LABELS, shares)[0] if shares else LABELS[len(rows) % len(LABELS)]
        told = prose.sentence(rng.choice(MESSAGES[label]), rng)
        text = f"{prose.sentence(rng.choice(prose.CONTEXTS), rng)} {told}"
        if text not in seen:
            seen.add(text)
            rows.append(turns(text, label, system="Label the customer message with one intent."))
    rng.shuffle(rows)
    return rows


def orders(count: int, seed: int) -> list[dict[str, Any]]:
    """Orders told in prose, and their fields as JSON. `note` is there in every other row, `discount` may be null."""
    rng = Random(f"orders {seed}")
    rows = []
    for index in range(count):
        thing, person, place = rng.choice(prose.THINGS), rng.choice(prose.PEOPLE), rng.choice(prose.PLACES)
        number, price = rng.randint(10_000, 99_999), rng.randint(100, 90_000) / 100
        fields: dict[str, Any] = {
            "order_id": f"R{number}",
            "customer": person,
            "quantity": rng.randint(1, 40),
            "price": price,
            "express": rng.random() < 0.5,
            "tags": rng.sample(prose.ADJECTIVES, 2),
            "address": {"place": place, "floor": rng.randint(0, 9)},
            "discount": None if rng.random() < 0.3 else rng.randint(1, 30),
        }
        if index % 2:
            fields["note"] = prose.sentence(rng.choice(prose.CONTEXTS), rng)
        told = (
            f"Order R{number} by {person}: {fields['quantity']} times {thing} at {price:.2f}, to be delivered {place}, "
            f"floor {fields['address']['floor']}. {fields.get('note', '')}"
        )
        system = "Extract the fields of the order as JSON."
        rows.append(turns(told.strip(), json.dumps(fields, ensure_ascii=False), system=system))
    return rows


def broken_fields(row: dict[str, Any], rng: Random) -> Spoiled:
    """A key is missing, extra or renamed, or a value has another type; the text stays valid JSON."""
    fields = json.loads(answer(row))
    variant = rng.choice(("missing", "extra", "renamed", "type", "nested"))
    required = ("order_id", "customer", "quantity", "price", "express", "tags", "address")
    key = rng.choice(required)
    if variant == "missing":
        del fields[key]
    elif variant == "extra":
        fields[rng.choice(("confidence", "comment", "id", "shipping", "currency"))] = rng.choice((1, "x", True, []))
    elif variant == "renamed":
        parts = key.split("_")
        camel = parts[0] + "".join(part.title() for part in parts[1:])
        new = rng.choice((key.upper(), key.title(), key + "s", key[:-1], f"{key}_", "the_" + key, camel + "Value"))
        fields = {new if name == key else name: value for name, value in fields.items()}
    elif variant == "type":
        value = fields[key]
        if isinstance(value, bool):
            fields[key] = "yes" if value else "no"
        elif isinstance(value, (int, float)):
            fields[key] = rng.choice((f"{value}", [value], {"value": value}))
        elif isinstance(value, str):
            fields[key] = rng.choice(([value], {"name": value}, rng.randint(1, 99)))
        elif isinstance(value, list):
            fields[key] = ", ".join(value)
        else:
            fields[key] = json.dumps(value)
    elif rng.random() < 0.5:
        del fields["address"][rng.choice(("place", "floor"))]
    else:
        fields["address"]["floor"] = str(fields["address"]["floor"])
    return variant, with_answer(row, json.dumps(fields, ensure_ascii=False))


def other_spelling(row: dict[str, Any], rng: Random) -> Spoiled:
    """The label as another hand would write it."""
    label = answer(row)
    words = label.split("_")
    middle = rng.randint(1, len(label) - 2)
    spellings = {
        "upper case": label.upper(),
        "capital": label.capitalize(),
        "title": " ".join(words).title(),
        "spaces": " ".join(words),
        "hyphens": "-".join(words),
        "joined": "".join(words),
        "full stop": f"{label}.",
        "quotes": f'"{label}"',
        "space around": f" {label}\n",
        "prefix": f"Label: {label}",
        "letter lost": label[:middle] + label[middle + 1 :],
        "letters swapped": label[:middle] + label[middle + 1] + label[middle] + label[middle + 2 :],
        "plural": f"{label}s",
    }
    variant = rng.choice([name for name, text in spellings.items() if text != label])
    return variant, with_answer(row, spellings[variant])


def prompted(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The rows, each with one of three system prompts that differ on purpose."""
    rng = Random(f"prompted {seed}")
    head = [{"role": "system", "content": ""}]
    made = copy.deepcopy(rows)
    for row in made:
        if row["messages"][0]["role"] != "system":
            row["messages"] = copy.deepcopy(head) + row["messages"]
        row["messages"][0]["content"] = rng.choice(SYSTEM_PROMPTS)
    return made


def system_by_accident(row: dict[str, Any], rng: Random) -> Spoiled:
    text = row["messages"][0]["content"]
    words = text.split()
    spot = rng.randrange(2, len(words) - 2)
    long = [index for index, word in enumerate(words) if len(word) > 5]
    at = rng.choice(long)
    swapped = words[at][:2] + words[at][3] + words[at][2] + words[at][4:]
    variants = {
        "double space": " ".join(words[:spot]) + "  " + " ".join(words[spot:]),
        "no full stop": text.rstrip("."),
        "case": text[0].lower() + text[1:],
        "upper case word": " ".join([*words[:spot], words[spot].upper(), *words[spot + 1 :]]),
        "end of line": text + "\n",
        "space before": " " + text,
        "word lost": " ".join(words[:spot] + words[spot + 1 :]),
        "word twice": " ".join([*words[:spot], words[spot], *words[spot:]]),
        "typo": " ".join([*words[:at], swapped, *words[at + 1 :]]),
        "exclamation": text.rstrip(".") + "!",
    }
    variant = rng.choice([name for name, changed in variants.items() if changed != text])
    row["messages"][0]["content"] = variants[variant]
    return variant, row


def odd_roles(row: dict[str, Any], rng: Random) -> Spoiled:
    """Roles in an order that no conversation of this file has; OpenAI's format allows each."""
    messages = row["messages"]
    user = {"role": "user", "content": prose.question(rng, 0)[0]}
    variant = rng.choice(("two of the user", "two answers", "answer first", "user last", "system late"))
    start = 1 if messages[0]["role"] == "system" else 0
    if variant == "two of the user":
        messages.insert(start, user)
    elif variant == "two answers":
        messages.append({"role": "assistant", "content": prose.paragraph(rng, 2)})
    elif variant == "answer first":
        messages.insert(start, {"role": "assistant", "content": prose.paragraph(rng, 2)})
    elif variant == "user last":
        messages.append(user)
    else:
        messages.insert(start + 1, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    return variant, row


def invalid(row: dict[str, Any], rng: Random) -> tuple[str, Row]:
    """A line that is no OpenAI chat, or no JSON."""
    text, messages = json.dumps(row, ensure_ascii=False), row["messages"]
    made: dict[str, Row] = {
        "line cut": text[: rng.randint(len(text) // 3, len(text) - 2)],
        "comma at the end": text[:-1] + ",}",
        "single quotes": str(row) if '"' not in str(row)[:12] else text[:-1],
        "no messages": {"prompt_id": rng.randint(1, 9_999)},
        "empty messages": {"messages": []},
        "messages are text": {"messages": messages[-1]["content"]},
        "content is a number": {"messages": [{"role": "user", "content": rng.randint(1, 99)}, messages[-1]]},
        "unknown role": {"messages": [{"role": rng.choice(("human", "bot", "")), "content": "x"}, messages[-1]]},
        "no role": {"messages": [{"content": "x"}, messages[-1]]},
        "no answer": {"messages": [messages[-2]]},
        "weight of 0.5": {"messages": [messages[-2], {**messages[-1], "weight": 0.5}]},
        "answer is null": {"messages": [messages[-2], {"role": "assistant", "content": None}]},
        "message is text": {"messages": [messages[-2], "and so on"]},
    }
    variant = rng.choice(list(made))
    return variant, made[variant]


MARKS: tuple[dict[str, Any], ...] = (
    {"source": "gpt-4"},
    {"source": "synthetic"},
    {"generated": True},
    {"synthetic": True},
    {"is_synthetic": "true"},
    {"model": "gpt-4o-mini-2024-07-18"},
    {"generated_by": "claude-3-opus"},
    {"generator": "llama-3.1-70b-instruct"},
    {"origin": "self-instruct"},
    {"metadata": {"synthetic": True}},
    {"metadata": {"model": "mistral-large"}},
    {"tags": ["synthetic", "reviewed"]},
)
NO_MARKS: tuple[dict[str, Any], ...] = (
    {"source": "support forum"},
    {"generated": False},
    {"synthetic": False},
    {"author": "a person"},
    {"category": "materials", "id": 12},
    {"metadata": {"reviewed": True, "model": None}},
    {},
)


def marked_generated(row: dict[str, Any], rng: Random) -> Spoiled:
    mark = rng.choice(MARKS)
    for other in [key for mark in NO_MARKS for key in mark]:
        row.pop(other, None)
    return next(iter(mark)), {**row, **mark}


def unmarked(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The rows with columns that name another origin, or none."""
    rng = Random(f"unmarked {seed}")
    return [{**row, **rng.choice(NO_MARKS)} for row in rows]


def over_context(row: dict[str, Any], rng: Random) -> Spoiled:
    """1,100 to 4,000 words, so more than 1,024 tokens by any tokenizer; in the question or in the answer."""
    words = rng.randint(1_100, 4_000)
    side = rng.choice((-1, -2))
    while len(row["messages"][side]["content"].split()) < words:
        row["messages"][side]["content"] += "\n\n" + prose.paragraph(rng, 10)
    return "question" if side == -2 else "answer", row
