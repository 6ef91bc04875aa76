"""Answers that decline, and phrases by which an assistant speaks of itself."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.planting import answer, with_answer

REFUSALS = {
    "English": """
I'm sorry, but I can't assist with that request. | I cannot help with that. | Sorry, I can't do that. | I'm
afraid I'm not able to answer this question. | I won't be able to provide that information. | I am unable to
fulfil this request. | I'm not comfortable writing that. | As much as I'd like to help, I can't respond to this.
| I must decline to answer. | I apologize, but I cannot provide assistance with this. | Unfortunately, I can't
help you with this one. | I'm unable to comply with that. | That's not something I can help with. | This is not
something I'm able to discuss. | I don't feel comfortable helping with this request. | I can't provide guidance
on that topic. | My apologies, but I'm not permitted to share this. | I have to refuse this request. | I'm
sorry, I'm not allowed to talk about that. | It would not be appropriate for me to answer that. | I cannot in
good conscience help with this. | I'm going to have to pass on this request, as it goes against my guidelines. |
This request violates my content policy, so I can't continue. | I can’t create that kind of content. | I do not
have the ability to help with that, sorry. | Sorry, that falls outside of what I can help with. | I'm not in a
position to give an answer to that. | I regret that I can't be of help here. | I will not answer this. | Sorry,
but I'm not able to generate that text for you. | I'd rather not answer this question. | Apologies, I'm unable
to process this request. | I am not able to engage with this topic. | I'm sorry, but answering this would be
against my programming. | I can't fulfill that request. Is there something else you would like to talk about? |
I have no way to assist you with that, I'm sorry to say. | I refuse to answer this.
""",
    "German": """
Es tut mir leid, aber dabei kann ich nicht helfen. | Leider kann ich diese Anfrage nicht beantworten. |
Entschuldigung, das darf ich nicht beantworten. | Ich kann Ihnen bei diesem Anliegen leider nicht weiterhelfen.
""",
    "French": """
Je suis désolé, mais je ne peux pas répondre à cette demande. | Désolée, je ne peux pas vous aider avec cela. |
Malheureusement, il m'est impossible de répondre à cette question. | Je regrette, mais je ne suis pas en mesure
de vous aider.
""",
    "Spanish": """
Lo siento, pero no puedo ayudarte con eso. | Lamentablemente, no puedo responder a esa pregunta. | Perdona, no
me es posible cumplir con esa solicitud. | Lo lamento, no estoy autorizado a hablar de ese tema.
""",
    "Italian": """
Mi dispiace, ma non posso aiutarti con questa richiesta. | Purtroppo non posso rispondere a questa domanda. |
Spiacente, non sono in grado di aiutarla.
""",
    "Portuguese": """
Desculpe, mas não posso ajudar com isso. | Sinto muito, não posso responder a essa pergunta. | Infelizmente, não
consigo atender a esse pedido.
""",
    "Japanese": "申し訳ありませんが、そのご質問にはお答えできません。|すみませんが、お手伝いできません。",
    "Chinese": "很抱歉，我无法回答这个问题。|对不起，我不能帮助您完成这个请求。",
    "Dutch": "Het spijt me, maar daar kan ik niet bij helpen.|Helaas kan ik deze vraag niet beantwoorden.",
}
TAILS = (
    " If you have another question, feel free to ask.",
    " Please ask me about something else.",
    " You may want to speak with a specialist about {subject}.",
    " It could cause harm to {person}.",
    " Perhaps {person} can tell you more about {subject}.",
)
BOILERPLATE = {
    "self-reference": """
As an AI language model, | As an AI, | As a large language model, | As an artificial intelligence, | As an AI
assistant, | As an AI developed to be helpful, | Being an AI language model, | As a virtual assistant, | I'm
just an AI, but here goes: | I am an AI model, so take this with care: | Speaking as an AI chatbot,
""",
    "no experience": """
I don't have personal opinions or feelings, but here is an overview. | As a machine learning model I do not have
feelings or experiences. | I don't have personal experiences, as I am a computer program. | I'm an AI and do not
have personal preferences. | I do not have a physical body, since I am an AI language model.
""",
    "cut-off date": """
As of my last knowledge update in September 2021, this is what I know. | My knowledge cutoff is January 2022. |
My training data only goes up to 2023, so newer facts are missing. | As of my last training update in April
2023, nothing had changed. | I don't have access to real-time information, and my knowledge ends in 2021. | I
cannot browse the internet, so I can only tell what I learned in training.
""",
    "maker": """
I am ChatGPT, a language model trained by OpenAI. | I'm Claude, an AI assistant made by Anthropic. | I was
trained by Google as a large language model. | I am an AI assistant created by OpenAI.
""",
}
CLOSINGS = (
    " I hope this helps! Let me know if you have any further questions.",
    " If you have any other questions, please don't hesitate to ask!",
    " Is there anything else I can assist you with today?",
)


def refusal(row: dict[str, Any], rng: Random) -> tuple[str, dict[str, Any]]:
    """The whole answer is a refusal; the longer English ones go on with an offer or a reason."""
    language = rng.choices(list(REFUSALS), [60, 5, 5, 5, 5, 5, 5, 5, 5])[0]
    text = rng.choice(prose.listed(REFUSALS[language]))
    if language == "English" and rng.random() < 0.4:
        text += prose.sentence(rng.choice(TAILS), rng)
    return language, with_answer(row, text)


def boilerplate(row: dict[str, Any], rng: Random) -> tuple[str, dict[str, Any]] | None:
    """The phrase stands before the answer, or after its first sentence."""
    text = answer(row)
    if len(text) < 80 or not text[0].isupper() or "```" in text:
        return None
    variant = rng.choices([*BOILERPLATE, "closing offer"], [35, 20, 25, 10, 10])[0]
    if variant == "closing offer":
        return variant, with_answer(row, text + rng.choice(CLOSINGS))
    phrase = rng.choice(prose.listed(BOILERPLATE[variant]))
    if phrase.endswith((",", ":")):
        return variant, with_answer(row, f"{phrase} {text[0].lower()}{text[1:]}")
    first, stop, rest = text.partition(". ")
    if stop and rng.random() < 0.5:
        return variant, with_answer(row, f"{first}. {phrase} {rest}")
    return variant, with_answer(row, f"{phrase} {text}")


def wordings() -> list[str]:
    return [text for texts in REFUSALS.values() for text in prose.listed(texts)]
