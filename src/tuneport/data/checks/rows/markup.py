"""Finds leftovers of other programs in a text: markup, tokens of chat templates, unfilled slots, escapes, a model's
notes.

Markup that the request asks for, or inside code, is intended. Each family is looked for only if one of its characters
is in the text, because most texts have none.
"""

from __future__ import annotations

import re

from tuneport.data.checks.rows.shapes import parse_row_answer_json, row_looks_like_code

# --- tokens of models, and what they write for other programs to read: never meant for people

_TOKENS = re.compile(
    r"<\|[\w/ -]{2,40}\|>|<｜[^｜]{2,30}｜>|\[/?INST\]|<</?SYS>>|</s>|<s>"
    r"|<(?:start|end)_of_turn>|<\|?eot_id\|?>|<(?:eos|bos|pad|unk|mask|sep|cls|sop|eop)>|<(?:extra_id_|unused)\d+>"
    r"|###? ?(?:Response|Instruction|Input|Human|Assistant|User|System)\b ?:"
    r"|\[(?:MASK|SEP|CLS|PAD|UNK|EOS|BOS|gMASK|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
    r"|</?(?:tool_call|tool_response|function_calls?|invoke|function_results)\b[^<>]{0,80}>"
)
_REFERENCES = re.compile(
    r"【[^】\n]{0,12}[†:][^】\n]{0,40}】|:?contentReference\[|oaicite:|\b(?:cite)?turn\d+(?:search|view|news|image|file)\d+"
    r"|\[\^\d+\^\]|\[citation:\d+\]|sandbox:/mnt/data|utm_source=(?:chatgpt|openai)"
)
_THOUGHT = re.compile(
    r"</?(?:think|thinking|thought|thoughts|reasoning|scratchpad|reflection|inner_monologue|analysis|final_answer)>"
)
_SPEAKER = re.compile(
    r"\n[ \t]*(?:Human|Assistant|USER|ASSISTANT|User|Question|AI|Bot|System)[ \t]*:\s\s*\S"
)  # begins with an end of line, which is quickly found

# --- markup of pages

_TAG = re.compile(
    r"</?(?:p|br|hr|div|span|b|i|u|em|strong|ul|ol|li|h[1-6]|table|tbody|thead|tr|td|th|font|center|blockquote|section"
    r"|article|sup|sub|body|html|head)"
    r"(?:\s+[\w-]+=[^<>]*)?\s*/?>|<(?:a\s+[^<>]*href|img\s)[^<>]*>|</a>|<(?:script|style|iframe)\b[^<>]*>"
    r"|<!--.*?-->|<!\[CDATA\[|<ref(?:\s+name=[^<>]*)?/?>",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(
    r"&(?:amp|nbsp|lt|gt|quot|apos|rsquo|lsquo|ldquo|rdquo|mdash|ndash|hellip|bull|copy|reg|trade|deg|euro|[aeiou]acute"
    r"|[aeiou]grave|[aou]uml|ntilde|ccedil|szlig|#\d{2,5}|#x[0-9a-fA-F]{2,5});"
)
_WIKI = re.compile(
    r"\[\[(?=[^\W\d_])[^\[\]\n,]{1,80}\]\]|\{\{(?:[Cc]it(?:e|ation)|[Ii]nfobox|[Mm]ain|[Rr]eflist|[Ss]ee)\b[^{}]*\}\}"
    r"|'''[^'\n]{1,80}'''|^={2,4} ?[^=\n]{2,60} ?={2,4}$",
    re.MULTILINE,
)
_FORUM = re.compile(
    r"\[/(?:b|i|u|s|quote|url|img|code|color|size|font|list|spoiler|center)\]|\[(?:quote|url|img|color|size"
    r"|font)=[^\]\n]+\]",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(r"<(?:!DOCTYPE|html|head|svg|form|input|xml|\?xml|\?php|nav|button)\b", re.IGNORECASE)
_CODE_PARTS = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)

# --- slots of templates

_SLOT = re.compile(
    r"\{\{[-#/]?\s*[\w.| ]+\s*\}\}|\{%-? .{1,60}? -?%\}|<%=? .{1,60}? %>|\$\{[A-Za-z_][\w.]*\}|\{[a-z]+(?:_[a-z]+)+\}"
)
_PLACEHOLDER = re.compile(
    r"\[(?:(?!(?:INFO|WARN|WARNING|ERROR|DEBUG|NOTE|[IVXLCM]+)\])[A-Z][A-Z_]{3,30}(?: [A-Z_]{2,20}){0,3}"
    r"|(?:Your|Insert|Enter|Add|Company|Customer|Client|Recipient|Sender|User|Product)(?:'s)? ?[\w ']{0,30}"
    r"|(?:First |Last |Full )?Name|Date|Address|Phone|Email|insert [\w ]{2,30}|your [\w ]{2,30})\](?!\()"
)

# --- escapes that were never undone

_ESCAPE = re.compile(
    r"\\u(?:00[a-fA-F89][0-9a-fA-F]|20[0-9a-fA-F]{2}|[0-9a-fA-F]{4}\\u|[dD]8[0-9a-fA-F]{2})"
    r"|(?:[\w.!?:;,)\"'*]|\\n)(?:\\r)?\\n(?:[A-Z0-9*•\"-]|\\n|$)|\\x[eEcC][0-9a-fA-F]\\x"
)
_CONTROL = ("\x1b", "\x00", "\x08")

# --- what a request says that asks for it

_ASKS_FOR_MARKUP = re.compile(
    r"html|web ?(?:page|site)|xml|markup|\btags?\b|\bcss\b|</?\w+>|&\w+;|jsx|\bsvg\b|\bentit(?:y|ies)|escape|wiki"
    r"|bbcode|forum"
    r"|latex|\bcode\b|javascript|script tag|\bsnippet|obsidian|note-?taking",
    re.IGNORECASE,
)
_ASKS_FOR_SLOTS = re.compile(
    r"template|placeholder|variable|\bslots?\b|jinja|handlebars|mustache|liquid|\bcode\b|\{\{|\{%|\$\{|<%|f-string",
    re.IGNORECASE,
)
_ASKS_FOR_A_FORM = re.compile(
    r"template|placeholder|letter|e-?mails?\b|\bmails?\b|\bforms?\b|\bdraft|invit|\bsample\b|résumé|\bresume"
    r"|\bcover\b|\bmemo"
    r"|\bnotice|\bcontract|\bessay|\bspeech|message|announcement|\bscript\b|\[|\{|\$|\bblanks?\b|\bslots?\b|signature"
    r"|mad lib|\bfill",
    re.IGNORECASE,
)
_ASKS_FOR_A_DIALOGUE = re.compile(
    r"dialog|conversation|convers|\bchat|\bscript|interview|q ?& ?a\b|question|\bquiz|\bfaq"
    r"|\bplays?\b(?! (?:such )?an? )"
    r"|\bscene|\broles?\b(?! in)|role-?play|exchange|\busers?\b|\bbots?\b",
    re.IGNORECASE,
)
_ASKS_FOR_ESCAPES = re.compile(
    r"escape|newline|line ?break|regex|regular expression|string|\bcode\b|python|\bpath\b|unicode|json|latex|\\",
    re.IGNORECASE,
)


def find_leftover_markup(text: str, question: str) -> str | None:
    """Return leftover markup, tokens, slots or escapes, or None. Markup that the request asks for, or in code, does not
    count."""
    angle, square, curly = "<" in text, "[" in text, "{" in text
    if angle or square or "#" in text:
        found = _TOKENS.search(text)
        if found and found[0] not in question:
            return f"a token of a chat template: {found[0]!r}"
    colon = ":" in text
    if (square or "【" in text or "turn0" in text or "turn1" in text) or (
        colon and ("sandbox:" in text or "utm_" in text)
    ):
        found = _REFERENCES.search(text)
        if found:
            return f"a reference for a program: {found[0]!r}"
    if colon and "\n" in text:
        told = _speaker(text, question)
        if told:
            return told
    if "\\" in text or "\x1b" in text or "\x00" in text:
        told = _escape(text, question)
        if told:
            return told
    if angle or square or curly or "&" in text or "''" in text or "\n==" in text:
        return _page_or_slot(text, question)
    return None


def find_reasoning_tags(text: str) -> str | None:
    """Return the tags around a model's reasoning before its answer: on purpose if the whole dataset has them."""
    if "<" not in text:
        return None
    found = _THOUGHT.search(text)
    return f"thoughts in the answer: {found[0]!r}" if found else None


def _page_or_slot(text: str, question: str) -> str | None:
    if "`" in text:
        text = _CODE_PARTS.sub("`code`", text)
    told = _page(text, question)
    if told:
        return told
    if "\\" in text or not ("{" in text or "[" in text or "<%" in text):
        return None
    found = None
    if "{" in text or "<%" in text:
        found = _SLOT.search(text)
        if found and (_ASKS_FOR_SLOTS if found[0].startswith(("{{", "{%", "<%")) else _ASKS_FOR_A_FORM).search(
            question
        ):
            found = None
    if found is None and "[" in text and not _ASKS_FOR_A_FORM.search(question):
        found = _PLACEHOLDER.search(text)
    return f"an unfilled slot: {found[0]!r}" if found and not row_looks_like_code(text) else None


def _page(text: str, question: str) -> str | None:
    """Find tags, entities, wiki and forum markup."""
    angle = "<" in text
    found = _ENTITY.search(text) if "&" in text else None
    if found is None and angle:
        found = _TAG.search(text)
        if found and (("|" in text and found[0].lower().startswith("<br")) or _is_type(text, found)):
            found = None
    if found is None and ("[[" in text or "{{" in text or "'''" in text or "==" in text):
        found = _WIKI.search(text)
        if found and row_looks_like_code(text):
            found = None  # lists of lists, docstrings
    if found is None and "[" in text:
        found = _FORUM.search(text)
        if found and row_looks_like_code(text):
            found = None
    if found is None or _ASKS_FOR_MARKUP.search(question) or (angle and _DOCUMENT.search(text)):
        return None
    return f"markup: {found[0][:60]!r}"


def _is_type(text: str, found: re.Match[str]) -> bool:
    """Return whether it is `List<b>` or the like."""
    return text[found.start() - 1 : found.start()].isalnum() and row_looks_like_code(text) and "</" not in text


def _escape(text: str, question: str) -> str | None:
    for control in _CONTROL:
        if control in text:
            return f"a control character: {control!r}"
    found = _ESCAPE.search(_CODE_PARTS.sub("", text) if "`" in text else text)
    if (
        not found
        or _ASKS_FOR_ESCAPES.search(question)
        or row_looks_like_code(text)
        or parse_row_answer_json(text) is not None
    ):
        return None
    return f"an escape: {found[0]!r}"


def _speaker(text: str, question: str) -> str | None:
    """Find the other speaker's turn, continued by the model. A first line may be headed so, a turn after the answer
    not."""
    found = _SPEAKER.search(text, 1)
    if not found or _ASKS_FOR_A_DIALOGUE.search(question) or found[0].strip()[:8] in question:
        return None
    return f"another turn in the answer: {' '.join(found[0].split())[:40]!r}"
