"""How assistants refuse, and how they speak of themselves: patterns by language, for text in lower case.

`MARKS` are pieces of words, one of which each pattern has: `refusals.py` looks for those first, because it is quicker.
"""

from __future__ import annotations

REFUSAL_MARKS = {
    "en": "sorry|apolog|cannot|can't|can not|unable|not able|won't|decline|appropriate for me",
    "es": "siento|lamento|puedo|perdón",
    "pt": "desculp|sinto|lamento|posso|não",
    "it": "dispiace|posso",
    "de": "leid|kann",
    "nl": "spijt|kan ik",
    "sv": "jag kan",
    "fr": "désolé|je ne",
    "pl": "przykro|nie mogę",
    "tr": "üzgünüm",
    "ru": "извин|сожал|прощения|не могу",
    "ja": "できま|できかね|いたしかね|お答え",
    "zh": "抱歉|对不起|很遗憾|我无法|我不能",
    "ko": "죄송",
}
_EN_SORRY = r"(?:sorry|apologi[sz]e|apologies)\b[^.!?:\n]{0,60}?"
_EN_DO = "assist|help|provide|fulfil|comply|generate|create|answer|engage|support|discuss|write"
_EN_WORK = "perform|browse|access|book|place|order|retrieve|estimate"
# English: only what a person at work would not say. A shop that cannot find an order refuses nothing.
REFUSALS = {
    "en": (
        rf"{_EN_SORRY}\bi (?:can't|cannot|can not|won't|will not|must decline)",
        rf"{_EN_SORRY}\bi don't have (?:the (?:ability|capability)|access|real-?time)",
        rf"{_EN_SORRY}\bas (?:an ai|a language)\b",
        rf"\bi(?: am|'m) (?:currently |unfortunately )?(?:unable|not able) to (?:{_EN_DO}|{_EN_WORK})",
        rf"(?:sorry|apologi[sz]e)[^.!?\n]{{0,20}}?unable to (?:{_EN_DO})",
        r"\bi (?:can't|cannot|can not|won't|will not) (?:assist|help (?:you )?with|provide|fulfil|comply|generate"
        r"|create|engage|support|discuss|do that|in good conscience|satisfy|participate|offer)",
        r"\bi (?:must|have to) (?:respectfully |politely )?decline",
        r"it (?:would be|is) (?:not appropriate|inappropriate) for me",
    ),
    "es": (
        r"(?:lo siento|lo lamento|perdón)\b.{0,40}?no (?:puedo|me es posible|estoy en condiciones)",
        r"no puedo (?:ayudarte|ayudarle|ayudar con|asistir|proporcionar|cumplir|responder a es|generar)",
    ),
    "pt": (
        r"(?:desculpe|sinto muito|lamento)\b.{0,40}?não (?:posso|consigo)",
        r"não posso (?:ajudar|ajudá|fornecer|atender|cumprir|gerar)",
    ),
    "it": (
        r"mi dispiace\b.{0,40}?non (?:posso|sono in grado)",
        r"non posso (?:aiutart|aiutarl|fornir|soddisfare|generare)",
    ),
    "de": (
        r"(?:tut mir (?:sehr )?leid|entschuldig)\b.{0,40}?(?:kann ich|ich kann)\b.{0,60}?\bnicht\b",
        r"(?:kann ich|ich kann)\b.{0,40}?nicht (?:weiterhelfen|helfen|behilflich|beantworten|erfüllen|bereitstellen)",
    ),
    "nl": (r"(?:het spijt me|sorry)\b.{0,30}?(?:kan ik|ik kan)\b.{0,60}?niet",),
    "sv": (r"jag kan (?:tyvärr )?inte (?:hjälpa|bistå|tillhandahålla)",),
    "fr": (
        r"désolée?\b.{0,40}?je ne (?:peux|suis|puis)\b",
        r"je ne (?:peux|suis) pas (?:en mesure|vous aider|t'aider|fournir|répondre à|générer|satisfaire)",
    ),
    "pl": (r"przykro mi\b.{0,40}?nie mogę", r"nie mogę (?:pomóc|udzielić|spełnić)"),
    "tr": (r"üzgünüm\b.{0,60}?(?:edemem|yapamam|olamam|veremem|edemiyorum|yapamıyorum)",),
    "ru": (
        r"(?:извините|к сожалению|прошу прощения|сожалею)\b.{0,30}?не могу",
        r"я не могу (?:помочь|предоставить|выполнить|ответить)",
    ),
    "ja": (
        r"申し訳.{0,60}?(?:できません|できかねます|いたしかねます|お答え)",
        r"(?:お答え|お手伝い|お応え|ご提供|対応)(?:することは|は|が)?(?:できません|できかねます|いたしかねます)",
    ),
    "zh": (
        r"(?:抱歉|对不起|很遗憾).{0,12}?(?:我|无法|不能).{0,4}?(?:无法|不能|不可以)",
        r"我(?:无法|不能)(?:提供|协助|帮助|满足|回答|生成)",
    ),
    "ko": (r"죄송.{0,60}?(?:수 없습니다|수 없어요|어렵습니다|드릴 수 없)",),
}

SELF_MARKS = {
    "en": "training data|an ai|language model|artificial intelligence",
    "es": "modelo de l|como ia|como una ia|inteligencia artificial",
    "pt": "modelo de l|como uma ia|inteligência",
    "it": "modello ling|come ia|in quanto",
    "de": "sprachmodell|als ki|künstliche",
    "nl": "taalmodel|als ai|als een ai",
    "sv": "som ai|som en ai|språkmodell",
    "fr": "tant qu",
    "pl": "model językowy|sztuczna",
    "ru": "языковая модель|как ии",
    "ja": "言語モデル|aiとして|aiアシスタント|aiなので|aiである|aiです|人工知能",
    "zh": "语言模型|人工智能|作为",
    "ko": "언어 모델",
}
SELF = {
    "en": (
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
        r"(?:[ -](?:language|assistant|model|system|chatbot))*"
        r"(?:,| i\b| it'?s\b| my\b| developed| created| trained| built)",
        r"\bi(?:'m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model)\b",
        r"\b(?:my|the) knowledge cutoff",
        r"\bmy training data\b",
        r"\ban ai developed by\b",
    ),
    "es": (r"\bcomo (?:un |una )?(?:modelo de lenguaje|ia\b|inteligencia artificial|asistente de ia)",),
    "pt": (r"\bcomo (?:um |uma )?(?:modelo de linguagem|ia\b|inteligência artificial)",),
    "it": (r"\b(?:come|in quanto) (?:un )?(?:modello linguistico|ia\b|intelligenza artificiale)",),
    "de": (r"\bals (?:eine? |großes )?(?:ki\b|ki-|künstliche intelligenz|sprachmodell)",),
    "nl": (r"\bals (?:een )?(?:ai\b|taalmodel)",),
    "sv": (r"\bsom (?:en )?(?:ai\b|språkmodell)",),
    "fr": (
        r"\ben tant qu(?:e |')(?:une? )?"
        r"(?:ia\b|assistant (?:ia|virtuel)|modèle de langage|intelligence artificielle|grand modèle)",
    ),
    "pl": (r"\bjako (?:model językowy|sztuczna inteligencja)",),
    "ru": (r"\bкак (?:языковая модель|ии\b)",),
    "ja": (r"(?:ai|人工知能|言語モデル|aiアシスタント|ai言語モデル)(?:として|なので|であるため|ですので)",),
    "zh": (r"作为(?:一个|一款|一名)?(?:ai|人工智能|大?语言模型)",),
    "ko": (r"(?:ai|인공지능)? ?언어 모델(?:로서|이기)",),
}
