"""Answers that refuse, or that speak as somebody else's assistant."""

from __future__ import annotations

import re

HEAD = 260  # characters: a refusal is said first



class _Prefilter:
    """Words one of which a pattern needs: looking for them is many times faster than the pattern."""

    def __init__(self, ascii_marks: str, wide_marks: str) -> None:
        self._ascii = tuple(ascii_marks.split("|"))
        self._all = (*self._ascii, *wide_marks.split("|"))

    def __call__(self, text: str) -> bool:
        for mark in self._ascii if text.isascii() else self._all:
            if mark in text:
                return True
        return False


_MARKS = "sorry|apolog|cannot|can't|can not|unable|not able|won't|decline|appropriate for me|siento|puedo|lamento|leid|kann|dispiace|posso"
_MARKS += "|desculp|sinto|spijt|kan ik|jag kan|przykro"
_WIDE_MARKS = "désolé|je ne|perdón|não|お答え|できま|できかね|いたしかね|抱歉|对不起|很遗憾|我无法|我不能|죄송|nie mogę|извин|сожал|прощения"
_WIDE_MARKS += "|не могу|üzgünüm"
_REFUSES = _Prefilter(_MARKS, _WIDE_MARKS)
_REFUSAL = re.compile(
    # English. Only what a person at work would not say: a shop that cannot find an order refuses nothing.
    r"(?:sorry|apologi[sz]e|apologies)\b[^.!?\n]{0,60}?(?:\bi (?:can't|cannot|can not|won't|will not"
    r"|must decline|don't have (?:the (?:ability|capability)|access|real-?time))|as an ai\b|as a "
    r"language)|sorry[^.!?\n]{0,20}?unable to (?:assist|help|provide|fulfil|comply)"
    r"|\bi(?: am|'m) (?:currently |unfortunately )?(?:unable|not able) to (?:assist|help|provide|fulfil|comply|generate"
    r"|create|answer|engage|support|perform|browse|access|discuss|write|book|place|order|retrieve|estimate)"
    r"|\bi (?:can't|cannot|can not|won't|will not) (?:assist|help (?:you )?with|provide|fulfil|comply|generate|create"
    r"|engage|support|discuss|do that|in good conscience|satisfy|participate|offer)"
    r"|\bi (?:must|have to) (?:respectfully |politely )?decline|it (?:would be|is) (?:not appropriate|inappropriate) for me"
    # Spanish, Portuguese, Italian
    r"|(?:lo siento|lo lamento|perdón)\b.{0,40}?no (?:puedo|me es posible|estoy en condiciones)"
    r"|no puedo (?:ayudarte|ayudarle|ayudar con|asistir|proporcionar|cumplir|responder a es|generar)"
    r"|(?:desculpe|sinto muito|lamento)\b.{0,40}?não (?:posso|consigo)|não posso (?:ajudar|fornecer|atender|cumprir|gerar)"
    r"|mi dispiace\b.{0,40}?non (?:posso|sono in grado)|non posso (?:aiutarti|aiutarla|fornire|soddisfare|generare)"
    # German, Dutch, Swedish
    r"|(?:tut mir (?:sehr )?leid|leider|entschuldig)\b.{0,40}?(?:kann ich|ich kann)\b.{0,60}?\bnicht\b"
    r"|(?:kann ich|ich kann)\b.{0,40}?nicht (?:helfen|weiterhelfen|behilflich|unterstützen|beantworten|erfüllen|bereitstellen)"
    r"|(?:het spijt me|sorry)\b.{0,30}?(?:kan ik|ik kan)\b.{0,60}?niet|jag kan (?:tyvärr )?inte (?:hjälpa|bistå|tillhandahålla)"
    # French
    r"|désolée?\b.{0,40}?je ne (?:peux|suis|puis)\b|je ne (?:peux|suis) pas (?:en mesure|vous aider|t'aider|fournir|répondre à"
    r"|générer|satisfaire)"
    # Japanese, Chinese, Korean
    r"|申し訳.{0,60}?(?:できません|できかねます|いたしかねます|お答え)|(?:お答え|お手伝い|お応え|ご提供|対応)(?:することは|は|が)?(?:できません"
    r"|できかねます|いたしかねます)|(?:抱歉|对不起|很遗憾).{0,12}?(?:我|无法|不能).{0,4}?(?:无法|不能|不可以)|我(?:无法|不能)(?:提供|协助|帮助|满足|回答|生成)"
    r"|죄송.{0,60}?(?:수 없습니다|수 없어요|어렵습니다|드릴 수 없)"
    # Polish, Russian, Turkish
    r"|przykro mi\b.{0,40}?nie mogę|nie mogę (?:pomóc|udzielić|spełnić)"
    r"|(?:извините|к сожалению|прошу прощения|сожалею)\b.{0,30}?не могу|я не могу (?:помочь|предоставить|выполнить|ответить)"
    r"|üzgünüm\b.{0,60}?(?:edemem|yapamam|olamam|veremem|edemiyorum|yapamıyorum)",
)
_MARKS = "training data|modelo de l|como ia|como una ia|sprachmodell|als ki|tant qu|modello ling|taalmodel|als ai|als een ai"
_MARKS += "|som ai|come ia|in quanto ia|como uma ia"
_WIDE_MARKS = "inteligencia artificial|modèle de lang|言語モデル|aiとして|aiアシスタント|aiなので|语言模型|人工智能|作为|언어 모델|sztuczna"
_WIDE_MARKS += "|model językowy|языковая модель|как ии|språkmodell|künstliche|inteligência|aiである|aiです|人工知能"
_IS_ASSISTANT = _Prefilter(_MARKS, _WIDE_MARKS)
_ANYWHERE = ("AI", "as an ai", "anguage model", "nowledge cutoff")  # as written: capitals are rare, so quickly found
_AROUND = 60  # characters
_MAX_PLACES = 5  # an answer about AI says the word often
_BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b(?:[ -](?:language|assistant|model|system|chatbot))*"
    r"(?:,| i\b| it'?s\b| my\b| developed| created| trained| built)"
    r"|\bi(?:'m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\b(?:my|the) knowledge cutoff|\bmy training data\b|\ban ai developed by\b"
    r"|\bcomo (?:un |una )?(?:modelo de lenguaje|ia\b|inteligencia artificial|asistente de ia)"
    r"|\bals (?:eine? |großes )?(?:ki\b|ki-|künstliche intelligenz|sprachmodell)"
    r"|\ben tant qu(?:e |')(?:ia\b|assistant (?:ia|virtuel)|modèle de langage|intelligence artificielle|grand modèle)"
    r"|(?:ai|人工知能|言語モデル|aiアシスタント|ai言語モデル)(?:として|なので|であるため|ですので)"
    r"|\b(?:come|in quanto) (?:un )?(?:modello linguistico|ia\b|intelligenza artificiale)"
    r"|\bcomo (?:um |uma )?(?:modelo de linguagem|ia\b|inteligência artificial)"
    r"|作为(?:一个|一款|一名)?(?:ai|人工智能|大?语言模型)|(?:ai|인공지능)? ?언어 모델(?:로서|이기)"
    r"|\bals (?:een )?(?:ai\b|taalmodel)|\bjako (?:model językowy|sztuczna inteligencja)|\bкак (?:языковая модель|ии\b)"
    r"|\bsom (?:en )?(?:ai\b|språkmodell)"
)


def refusal_in(text: str) -> str | None:
    """The words that refuse or that are an assistant's boilerplate, else None."""
    head = text[:HEAD].lower()
    if "’" in head:
        head = head.replace("’", "'")
    found = _REFUSAL.search(head) if _REFUSES(head) else None
    found = found or (_BOILERPLATE.search(head) if _IS_ASSISTANT(head) else None)
    return _shown(head, found) if found else _boilerplate_in(text)


def _boilerplate_in(text: str) -> str | None:
    for mark in _ANYWHERE:
        place = text.find(mark)
        for _ in range(_MAX_PLACES):
            if place < 0:
                break
            around = text[max(0, place - _AROUND) : place + _AROUND].lower().replace("’", "'")
            found = _BOILERPLATE.search(around)
            if found:
                return _shown(around, found)
            place = text.find(mark, place + _AROUND)
    return None


def _shown(text: str, found: re.Match[str]) -> str:
    return " ".join(text[found.start() : found.end() + 40].split())
