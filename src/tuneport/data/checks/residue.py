"""What other programs left in a text: characters read in the wrong encoding, markup, tokens and slots of templates."""

from __future__ import annotations

import re

from tuneport.data.checks.shapes import looks_like_code

# --- characters read in the wrong encoding ---------------------------------------------------------------------------

_CP1252 = {
    ord(bytes([code]).decode("cp1252")): code for code in range(0x80, 0xA0) if code not in b"\x81\x8d\x8f\x90\x9d"
}
_BYTES = {**{code: code for code in range(0x80, 0x100)}, **_CP1252}
_HIGH = re.compile(f"[{re.escape(''.join(map(chr, _BYTES)))}]{{2,}}")
_CERTAIN = re.compile(
    "\ufffd|[\x80-\x84\x86-\x9f]|‚Ä[ôúùìî¢ôò]|√[©®±≥°§∂ºüßä†°¢Æ´]|&Atilde;|Ã\x83|ï¿½"  # also Mac Roman
)
_SIGNS = "ÂÃâðÐÑÎÏÅÄãåæçäèé√‚ï\ufffd\x80\x91\x92\x93\x94\x96\x97\x99"  # one of them is in any misread text
_LOST_QUOTE = re.compile(r"\?(?:t|s|re|ll|ve|m|d)\b(?![=&/\w])")  # don?t


def mojibake_in(text: str) -> str | None:
    """A place where the text was decoded wrongly once or more, or lost characters, else None."""
    if text.isascii():
        if "?" in text:
            found = _LOST_QUOTE.search(text)
            if found and text[found.start() - 1 : found.start()].isalpha() and "://" not in text:
                return _around(text, found.start())
        return None
    for sign in _SIGNS:
        if sign in text:
            return _misread_in(text)
    return None


def _misread_in(text: str) -> str | None:
    found = _CERTAIN.search(text)
    if found:
        return _around(text, found.start())
    misread = 0
    first = -1
    for run in _HIGH.finditer(text):
        places = _misread(run[0])
        if places:
            misread += places
            first = run.start() if first < 0 else first
            if misread >= 2:
                return _around(text, first)
    return None


def _misread(run: str) -> int:
    """How many characters of a run of Latin-1 or CP1252 characters are UTF-8 in truth; 2 where one alone is certain."""
    code = run.translate(_BYTES).encode("latin-1")
    count = position = 0
    while position < len(code):
        lead = code[position]
        size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 1
        piece = code[position : position + size]
        if size > 1:
            try:
                character = piece.decode()
            except UnicodeDecodeError:
                position += 1
                continue
            # Ã© and â€™ mean nothing in any language; others, as in "Spaß“", may stand together by right.
            count += 2 if lead in b"\xc2\xc3\xe2\xf0" else 1 if 0x100 <= ord(character) < 0x530 or size == 3 else 0
        position += max(1, size)
    return count


def _around(text: str, place: int) -> str:
    return f"…{' '.join(text[max(0, place - 20) : place + 30].split())}…"


# --- markup, tokens and slots ----------------------------------------------------------------------------------------

_TOKENS = re.compile(
    r"<\|[\w/ -]{2,30}\|>|<｜[^｜]{2,30}｜>|\[/?INST\]|<</?SYS>>|</s>|<s>"
    r"|<(?:start|end)_of_turn>|<\|?eot_id\|?>|<(?:eos|bos|pad|unk)>"
    r"|###? ?(?:Response|Instruction|Input|Human|Assistant|User|System)\b ?:|\[(?:MASK|SEP|CLS|PAD|UNK|EOS|BOS)\]"
)
_SPEAKER = re.compile(
    r"(?:^|\n)[ \t]*(?:Human|Assistant|USER|ASSISTANT|User|Question|AI|Bot|System)[ \t]*:(?=\s)[\s\S]*?\S"
    r"|<\|?(?:user|assistant)\|?>"
)
_TAG = re.compile(
    r"</?(?:p|br|hr|div|span|b|i|u|em|strong|ul|ol|li|h[1-6]|table|tbody|tr|td|th|font|center|blockquote|section|article)"
    r"(?:\s+[\w-]+=[^<>]*)?\s*/?>|<(?:a\s+[^<>]*href|img\s)[^<>]*>|</a>",
    re.IGNORECASE,
)
_ENTITY = re.compile(
    r"&(?:amp|nbsp|lt|gt|quot|apos|rsquo|lsquo|ldquo|rdquo|mdash|ndash|hellip|eacute|uuml|ouml|auml|#\d{2,5}|#x[0-9a-fA-F]{2,5});"
)
_SLOT = re.compile(
    r"\{\{\s*[\w.| ]+\s*\}\}|\{%-? .{1,60}? -?%\}|<%=? .{1,60}? %>|\$\{[A-Za-z_][\w.]*\}|\{[a-z]+(?:_[a-z]+)+\}"
)
_PLACEHOLDER = re.compile(
    r"\[(?:(?!(?:INFO|WARN|WARNING|ERROR|DEBUG|NOTE|[IVXLCM]+)\])[A-Z][A-Z_]{3,30}(?: [A-Z_]{2,20}){0,3}"
    r"|(?:Your|Insert|Enter|Add|Company|Customer|Client|Recipient|Sender|User|Product)(?:'s)? ?[\w ']{0,30}"
    r"|(?:First |Last |Full )?Name|Date|Address|Phone|Email|insert [\w ]{2,30}|your [\w ]{2,30})\](?!\()"
)
_CODE_PARTS = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_DOCUMENT = re.compile(
    r"<(?:!DOCTYPE|html|head|body|script|style|svg|form|input|xml|\?xml|\?php|nav|button)\b", re.IGNORECASE
)
_ASKS_FOR_MARKUP = re.compile(
    r"html|web ?(?:page|site)|xml|markup|\btags?\b|css|</?\w+>|&\w+;|jsx|\bsvg\b|entit|escape|wiki", re.IGNORECASE
)
_ASKS_FOR_A_FORM = re.compile(
    r"template|placeholder|letter|e-?mail|\bmail\b|\bform\b|draft|invit|sample|résumé|resume|cover|memo|notice|contract|essay"
    r"|speech|message|announcement|script|\[|\{|\$|blank|slot|signature|mad lib|fill",
    re.IGNORECASE,
)
_ASKS_FOR_A_DIALOGUE = re.compile(
    r"dialog|conversation|convers|chat|script|interview|q ?& ?a|question|quiz|faq|play\b|scene|role|exchange|user|bot",
    re.IGNORECASE,
)
_SPEAKERS = ("Human:", "ssistant:", "User:", "USER:", "ASSISTANT:", "Question:", "AI:", "Bot:", "System:")


def markup_in(text: str, question: str) -> str | None:
    """Leftover markup, chat tokens or unfilled slots, else None; none where the request asks for them, none in code."""
    angle, ampersand, square = "<" in text, "&" in text, "[" in text
    curly = "{" in text
    if angle or square or "#" in text:
        found = _TOKENS.search(text)
        if found and found[0] not in question:
            return f"a token of a chat template: {found[0]!r}"
    if ":" in text:
        for speaker in _SPEAKERS:
            if speaker in text:
                return _speaker(text, question)
    if not (angle or ampersand or square or curly):
        return None
    if "`" in text:
        text = _CODE_PARTS.sub("`code`", text)
    if (angle or ampersand) and not _ASKS_FOR_MARKUP.search(question) and not _DOCUMENT.search(text):
        found = _ENTITY.search(text) or (_TAG.search(text) if angle else None)
        if found and not ("|" in text and found[0].lower().startswith("<br")) and not _is_type(text, found):
            return f"markup: {found[0][:60]!r}"
    if (curly or square or "<%" in text) and not _ASKS_FOR_A_FORM.search(question):
        found = _SLOT.search(text) if curly or angle else None
        found = found or (_PLACEHOLDER.search(text) if square else None)
        if found and "\\" not in text and not looks_like_code(text):
            return f"an unfilled slot: {found[0]!r}"
    return None


def _is_type(text: str, found: re.Match[str]) -> bool:
    """`List<b>` and the like."""
    return text[found.start() - 1 : found.start()].isalnum() and looks_like_code(text) and "</" not in text


def _speaker(text: str, question: str) -> str | None:
    """Somebody else's turn, written on by the model. A first line may be headed so, a turn after the answer not."""
    found = _SPEAKER.search(text, 1)
    if not found or _ASKS_FOR_A_DIALOGUE.search(question) or found[0].strip()[:8] in question:
        return None
    return f"another turn in the answer: {' '.join(found[0].split())[:40]!r}"
