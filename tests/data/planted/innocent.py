"""Rows that look like defects and are none: each check must leave them alone."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.planting import turns

PAIRS = (
    (
        "Write a Python function that adds two numbers, with a comment on {thing}.",
        "```python\ndef add(a, b):\n    # {thing}\n    return a + b\n```",
    ),
    ("List three things that I need for {subject}.", "- {thing}\n- {thing2}\n- time, for about three weeks"),
    ("In one word: is the {aspect} of {subject} {adjective}?", "Yes"),
    ("How many sentences about {subject} did {person} write {place}?", "42"),
    (
        "My parcel with {thing} has not arrived. It was for {person}.",
        "I'm sorry to hear that your parcel with {thing} is late. I have asked the carrier where it is, "
        "and you will hear from us tomorrow morning.",
    ),
    (
        "Translate into French: {thing} is on the table, {place}.",
        "Dans cette phrase, l'objet se trouve sur la table, et le lieu est précisé juste après.",
    ),
    (
        "Translate into German, freely: {person} likes {subject}.",
        "Jemand aus unserem Bekanntenkreis mag das sehr gern, und zwar schon seit langer Zeit.",
    ),
    (
        "Write a line of dialogue for a character who dislikes {subject}.",
        '"I cannot stand {subject}," she said, "and I will not pretend otherwise. {Effect}, they say. Ha!"',
    ),
    (
        "Which HTML tag marks a paragraph about {subject}?",
        "The `<p>` tag marks a paragraph: `<p>{Subject}</p>`. Browsers put some space around it.",
    ),
    (
        "Where can I read about {subject}? It is for {person}.",
        "The public catalogue has a page about it: https://www.example.org/topics?id=3&lang=en",
    ),
    (
        "Name a café that suits {person} and a taste for {subject}.",
        "The Café Señor Müller is a naïve but charming choice: crème brûlée for 4 €, and {effect}.",
    ),
    (
        "Write a short chorus about {subject} {place}.",
        "Oh, {subject}, carry me home,\nOh, {subject}, carry me home,\nOver the hill where {effect},\n"
        "Oh, {subject}, carry me home.",
    ),
    ("For which x is 2x + 3 below 11, as {person} asked {time}?", "For x < 4, since 2x < 8. So x > 4 is excluded."),
    ("Give me a title for an article on the {aspect} of {subject}.", "{Subject}: A {adjective} Look at {aspect}"),
    (
        "Make a table of {thing} and {thing2}, with counts.",
        "| item | count |\n| --- | --- |\n| {thing} | 3 |\n| {thing2} | 5 |",
    ),
    (
        "Write an e-mail to support about {thing} that went missing {place}.",
        "Subject: {thing}\n\nHello,\n\nI miss {thing} since my visit {place}. My order is 100-2345-778. Please write to"
        " customer@example.com.\n\nKind regards,\nA customer",
    ),
    (
        "What is AI, for {person}, in one sentence on {subject}?",
        "Artificial intelligence is software that does tasks such as planning {subject}, which used to need a person.",
    ),
    (
        "Which version fixed the {aspect} problem that {person} saw {time}?",
        "Version 1.2.3.4 of 2026-11-24 fixed it; the server at 127.0.0.1 needs a restart, and {effect}.",
    ),
    (
        "Explain **bold** and _italic_ in Markdown to {person}.",
        "Use two asterisks for **bold** text, underscores for _italic_ text.\n\n1. Type the marks.\n2. Type the word.",
    ),
    ("Say hello to {person} with an emoji about {subject}!", "Hello there! 👋 How is {subject} going? 😀"),
    ("What does the JSON for {thing} look like?", '{{"name": "{thing}", "count": 3, "place": "{place}"}}'),
    (
        "Should {person} {verb} {thing} without a doctor's word on it?",
        "A few gentle stretches are fine for most people. With pain in the back, see a doctor first.",
    ),
    (
        "Why do we say “you can't {verb} an old dog” {place}?",
        "It’s an old saying – people use it for {adjective} habits… and it isn’t always true.",
    ),
    (
        "Which numbers stand on the box with {thing}?",
        "ISBN 978-3-16-148410-0, lot 2026-11-24/0042, 384,400 km, 3.14159265358979 and part 100-2345-778.",
    ),
    (
        "Work out the product that {person} asked for {time}.",
        "355909190063 - 746 = 355909189317, and 94962 x 4694 = 445751628. The {adjective} part is the carry.",
    ),
    (
        "Which commit changed {thing}, and what is its id?",
        "Commit 3f25df0c9a41b7e2d8fecfa0123456789abcdef0, with the id 123e4567-e89b-42d3-a456-426614174000.",
    ),
    (
        "Give me a made-up phone number for a play about {subject}.",
        "Use 212-555-0123: numbers like it are kept for fiction, so {person} cannot be rung up by accident.",
    ),
    (
        "Where on the map is {subject} {place}?",
        "At 52.5200 N, 13.4050 E, between marks 10.20.30 and 300.1.2.3 on the 1:25000 sheet of 1998.",
    ),
    (
        "Write a template for a reminder about {thing}.",
        "Dear [Name],\n\nplease bring {thing} on [Date].\n\nBest wishes,\n[Your Name]",
    ),
)


def innocent(rng: Random) -> dict[str, Any]:
    asked, answered = rng.choice(PAIRS)
    # Filled together, so that both speak of the same things; a sentence before the question keeps the inputs apart.
    both = prose.sentence(asked + "\n---\n" + answered, rng)
    asked, answered = both.split("\n---\n")
    told = prose.sentence(rng.choice(prose.CONTEXTS), rng)
    return turns(f"{told} {asked}", answered)
