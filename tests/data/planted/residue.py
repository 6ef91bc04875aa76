"""Spoiled characters: real encoding accidents, and markup that was left over."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from tests.data.planted.answers import Spoiled, is_prose
from tests.data.planted.languages import ACCENTED, CYRILLIC, SENTENCES
from tests.data.planted.planting import answer, asked, with_answer


def _misread(text: str, encoding: str) -> str | None:
    """UTF-8 bytes read as another encoding; None where it has no such byte."""
    try:
        return text.encode("utf-8").decode(encoding)
    except UnicodeDecodeError:
        return None


def mojibake(row: dict[str, Any], rng: Random) -> Spoiled:
    """The answer gets a sentence with accents or curly quotes, then goes through a wrong round trip as a whole."""
    text = answer(row)
    if not is_prose(text):
        return None
    variant = rng.choices(("cp1252", "latin-1", "twice", "replaced", "mac-roman", "cyrillic"), (35, 20, 15, 15, 8, 7))[
        0
    ]
    pool = ACCENTED + SENTENCES["French"][:4] + SENTENCES["German"][8:10] + SENTENCES["Spanish"][:2]
    if variant == "cyrillic":
        pool = CYRILLIC
    clean = f"{text} {' '.join(rng.sample(pool, rng.randint(1, 2)))}"
    if clean.isascii():
        return None  # an unaccented sentence was drawn: there is nothing to misread
    spoiled: str | None
    if variant == "cp1252":
        spoiled = _misread(clean, "cp1252")
    elif variant == "latin-1":
        spoiled = _misread(clean, "latin-1")
    elif variant == "twice":
        once = _misread(clean, "cp1252")
        spoiled = _misread(once, "cp1252") if once else None
    elif variant == "replaced":
        spoiled = clean.encode("cp1252").decode("utf-8", errors="replace")
    elif variant == "mac-roman":
        spoiled = _misread(clean, "mac-roman")
    else:
        spoiled = _misread(clean, "cp1251")
    return None if spoiled is None else (variant, with_answer(row, spoiled))


# {first} and {rest} are the answer's first sentence and the others; {word} is one of its words.
MARKUP = {
    "HTML": (
        "<p>{first}</p>\n<p>{rest}</p>",
        "{first}<br/><br/>{rest}",
        '<div class="answer"><span style="color: #333">{first}</span> {rest}</div>',
        "<ul><li>{first}</li><li>{rest}</li></ul>",
        '{first} <a href="/topics/{word}">{word}</a> {rest}',
        "{first} <b>{word}</b> {rest}</body></html>",
    ),
    "entities": (
        "{first}&nbsp;{rest} &amp; so on.",
        "&quot;{first}&quot; {rest}",
        "{first} It&#39;s true. {rest}",
        "{first}&lt;br&gt;{rest}",
    ),
    "chat template": (
        "{first} {rest}<|im_end|>",
        "<|im_start|>assistant\n{first} {rest}",
        "{first} {rest}<|endoftext|>",
        "{first} {rest}</s>",
        "<s>[INST] {first} [/INST] {rest}",
        "<<SYS>>\n{first}\n<</SYS>>\n\n{rest}",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{first} {rest}<|eot_id|>",
        "<start_of_turn>model\n{first} {rest}<end_of_turn>",
        "{first} {rest} [PAD] [PAD] [PAD]",
        "{first} <unk> {rest}",
    ),
    "prompt headings": (
        "### Response:\n{first} {rest}",
        "{first} {rest}\n\n### Instruction:\n{first}",
        "{first} {rest}\n\nHuman: {first}\n\nAssistant: {rest}",
        "{first} {rest}\nUSER: go on\nASSISTANT: {rest}",
    ),
    "wiki": (
        "'''{word}''': {first} {rest} {{{{citation needed|date=May 2021}}}}",
        "{first} [[{word}|{word}s]] {rest} [[Category:{word}]]",
        '{first} {rest}<ref name="a">{{{{cite web |url=x}}}}</ref>',
    ),
    "forum": (
        "[b]{first}[/b] {rest}",
        "[quote]{first}[/quote]\n{rest}",
        "{first} [url=http://example.org]{word}[/url] {rest}",
    ),
    "assistant's references": (
        "{first} {rest}【4†source】",
        "{first} {rest} :contentReference[oaicite:0]{{index=0}}",
        "{first} citeturn0search1 {rest}",
    ),
    "thinking": ("<think>\n{first}\n</think>\n\n{rest}", "<thinking>{first}</thinking> {rest}"),
    "unfilled": (
        "Dear {{{{ customer_name }}}}, {first} {rest}",
        "{first} {rest} {{% if premium %}}Thank you.{{% endif %}}",
        "{first} {rest} Ask for ${{product_name}}.",
    ),
    "escapes": (
        "{first}\\n\\n{rest}",
        "{first} \\u2019{word}\\u2019 {rest}",
        "\x1b[1m{first}\x1b[0m {rest}",
    ),
    "script": (
        "<!-- answer -->{first} {rest}",
        "{first} {rest}<script>track('{word}');</script>",
        "<![CDATA[{first} {rest}]]>",
        "<style>p {{ margin: 0 }}</style>{first} {rest}",
    ),
}


def markup(row: dict[str, Any], rng: Random) -> Spoiled:
    text = answer(row)
    about = re.search("html|markup|xml|code|tag|template|css|script|wiki", asked(row) + text, re.IGNORECASE)
    sentences = re.split(r"(?<=[.!?]) ", text)
    if about or not is_prose(text) or len(sentences) < 2:
        return None
    variant = rng.choice(list(MARKUP))
    words = re.findall(r"[a-z]{5,}", text) or ["thing"]
    pattern = rng.choice(MARKUP[variant])
    filled = pattern.format(first=sentences[0], rest=" ".join(sentences[1:]), word=rng.choice(words))
    return variant, with_answer(row, filled)
