"""Answers not fit to be learned are found, each kind, and good ones are left alone."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.rows import chat
from tuneport.data.checks.finding import CheckedDatasetExample, Finding
from tuneport.data.checks.rows.answers import RowAnswerChecks
from tuneport.data.checks.rows.endings import Ending, classify_row_answer_ending
from tuneport.data.checks.rows.loops import find_repetition_loop
from tuneport.data.checks.rows.markup import find_leftover_markup
from tuneport.data.checks.rows.refusals import find_refusal_phrase
from tuneport.data.checks.rows.residue import find_mojibake, repair_mojibake
from tuneport.data.formats import load_dataset_format
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Record
from tuneport.data.rows.text import record_messages_as_text, split_record_answer


def example(line: int, record: Record) -> CheckedDatasetExample:
    return CheckedDatasetExample.from_record(line, record)


def examples(rows: list[dict[str, Any]], start: int = 1) -> Iterator[CheckedDatasetExample]:
    read = load_dataset_format("openai").read_format_row
    for line, row in enumerate(rows, start=start):
        yield example(line, read(msgspec.json.encode(row)))


def judged(rows: list[dict[str, Any]]) -> tuple[RowAnswerChecks, Finding]:
    answers = RowAnswerChecks()
    for each in examples(rows):
        answers.add(each)
    return answers, answers.finding()


def good(count: int = 30) -> list[dict[str, Any]]:
    return [
        chat(
            f"How do I clean lamp number {i}?", f"Unplug lamp {i} first. Then wipe it with a dry cloth and let it rest."
        )
        for i in range(count)
    ]


# --- endings ---------------------------------------------------------------------------------------------------------

CUT = [
    "Wash the rice twice before you put it on the stove. Then bring the water to a boil and add the",
    "There are three ways to reset the router. The first is to hold the button,",
    "Use these steps:\n1. Open the lid.\n2. Remove the filter.\n3.",
    "Here is the function you asked for:\n```python\ndef add(a, b):\n    return a",
    "Der Vertrag endet am Ende des Monats, wenn Sie ihn nicht vorher kündigen oder",
    "La garantía cubre los defectos de fabricación durante dos años, siempre que la",
    '{"name": "Anna", "orders": [{"id": 1, "total": 12.5}, {"id": 2, "to',
    "You can reach the support team by phone. The line is open on weekdays (",
    "The device supports Wi-Fi, Bluetooth and a wired con-",
    "To return the item you need the following:",
]
OPEN = [
    "Wash the rice twice. Then bring the water to a boil and slowly lower the he",
    "The committee met on Monday and decided to postpone the vote until all members had read",
    "1. Open the lid carefully.\n2. Remove the filter and rinse it.\n3. Put the filter back before you clos",
    "Nach dem Essen gingen wir an den See. Dort lag ein kleines Boot am Ste",
    "彼は駅まで歩いた。それから電車に乗って、隣の町ま",
]
WHOLE = [
    "billing_question",
    "Positive",
    "Paris",
    "1. Tokyo\n2. Beijing\n3. Manila",
    "- milk\n- two eggs\n- a pinch of salt",
    "Best regards,\nJohn Smith\nSoftware Developer",
    "The rain falls soft upon the pane,\nthe candle flickers low,\nI hear the whistle\nand watch the embers glow",
    "Learning Unsupervised: An Automatic Curriculum for Reinforcement Learning",
    "(210 - 32) x 5/9 = 98.89",
    'He said: "We will be there by noon."',
    "Use `git rebase -i HEAD~3` for that.",
    "```python\nprint(1)\n```",
    "def add(a, b):\n    return a + b",
    '{"name": "Anna", "total": 3}',
    "Start the day with a smile and a run! #morning #running",
    "See https://example.com/help for more",
    "答えは三つです。",
    "네, 내일 도착합니다.",
    "ประเทศไทยมีประชากรประมาณหกสิบหกล้านคน",
    "Great, see you tomorrow! 😊",
    "| a | b |\n|---|---|\n| 1 | 2 |",
]


@pytest.mark.parametrize("text", CUT)
def test_an_answer_that_is_cut_off(text: str) -> None:
    assert classify_row_answer_ending(text)[0] is Ending.CUT


@pytest.mark.parametrize("text", OPEN)
def test_prose_without_an_end(text: str) -> None:
    assert classify_row_answer_ending(text)[0] is Ending.OPEN


@pytest.mark.parametrize("text", WHOLE)
def test_what_may_end_without_a_full_stop(text: str) -> None:
    assert classify_row_answer_ending(text)[0] in (Ending.ENDED, Ending.OTHER)


def test_open_endings_count_only_where_most_answers_end() -> None:
    answers, finding = judged([*good(), chat("And then?", OPEN[0])])
    assert (finding.verdict, finding.count, finding.details) == ("warn", 1, {"truncated": 1})
    assert finding.evidence[0].lines == (31,) and "slowly lower the he" in finding.evidence[0].text
    assert list(answers.lines()["truncated"]) == [31]
    casual = [chat(f"Question {i}?", f"well lamp {i} is not broken. just press the small button") for i in range(30)]
    assert judged([*good(20), *casual])[1].verdict == "pass"


def test_many_cut_answers_fail() -> None:
    finding = judged([*good(), *[chat("And?", text) for text in CUT]])[1]
    assert (finding.verdict, finding.count) == ("fail", len(CUT))


def prose(shared_data: Path) -> Iterator[str]:
    for _, record in read_records(shared_data / "alpaca_en_demo.json"):
        answer = record_messages_as_text(split_record_answer(record)[1])
        if len(answer) >= 120 and answer.endswith(".") and "`" not in answer and "\n" not in answer:
            yield answer


def test_recall_of_planted_defects_in_real_prose(shared_data: Path) -> None:
    """Cut anywhere but at a sentence's end; a sentence or some words said over and over; leftovers put in anywhere."""
    draw = random.Random(7)
    answers = list(prose(shared_data))
    cut = [each[: int(len(each) * draw.uniform(0.3, 0.9))].rstrip() for each in answers]
    cut = [each for each in cut if each[-1] not in ".!?"]
    found = [classify_row_answer_ending(each)[0] in (Ending.CUT, Ending.OPEN) for each in cut]
    assert len(cut) >= 200 and sum(found) >= 0.93 * len(cut)
    looping = []
    for each in answers:
        words = each.split()
        start, size = draw.randrange(len(words) - 6), draw.randint(2, 6)
        looping.append(" ".join(words[:start] + words[start : start + size] * draw.randint(12, 40)))
    assert sum(find_repetition_loop(each) is not None for each in looping) >= 0.95 * len(looping)
    leftovers = [
        "<br>",
        "</p>",
        "&nbsp;",
        "<|im_end|>",
        "</s>",
        "[INST]",
        "\n### Response:\n",
        "{{name}}",
        "\nHuman: and?",
    ]
    marked = []
    for each in answers:
        place = draw.randrange(len(each))
        marked.append(each[:place] + draw.choice(leftovers) + each[place:])
    assert sum(find_leftover_markup(each, "Tell me.") is not None for each in marked) >= 0.95 * len(marked)
    accents = str.maketrans("aeou'", "äéöü’")
    wrong = [each.translate(accents).encode().decode(draw.choice(["latin-1", "cp1252"]), "replace") for each in answers]
    assert sum(find_mojibake(each) is not None for each in wrong) >= 0.99 * len(wrong)
    assert sum(find_mojibake(each.translate(accents)) is not None for each in answers) == 0


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSALS = [
    "I'm sorry, but I can't help with that request.",
    "I’m sorry, but I cannot assist with anything of that kind.",
    "I apologize, but I cannot provide instructions for picking locks.",
    "Unfortunately, I'm unable to assist you with this matter.",
    "As an AI language model, I do not have feelings about the weather.",
    "That is a fine question. As an AI, I don't eat, but many people like soup.",
    "I cannot comply with this request because it is harmful.",
    "I won't provide that information.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Como modelo de lenguaje, no tengo acceso a datos en tiempo real.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "Als KI-Sprachmodell habe ich keine eigene Meinung dazu.",
    "Je suis désolé, mais je ne peux pas répondre à cette demande.",
    "En tant qu'intelligence artificielle, je n'ai pas d'avis personnel.",
    "申し訳ありませんが、そのご依頼にはお答えできません。",
    "AIとして、私には個人的な意見はありません。",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas não posso ajudar com isso.",
    "抱歉，我无法提供这方面的帮助。",
    "Извините, но я не могу помочь с этим.",
    "죄송하지만 그 요청은 도와드릴 수 없습니다.",
    "I'd rather not discuss such matters here.",
    "I am not permitted to share details on this.",
    "Writing this would go against my guidelines.",
    "Being an AI, I have no childhood to speak of.",
    "As of my last update I knew of three. My knowledge ends in 2022.",
    "I don't have personal beliefs, so I only list the facts.",
    "I am Claude, an AI assistant made by Anthropic.",
    "Leider darf ich auf solche Fragen keine Antwort geben.",
    "Il m'est malheureusement impossible de vous aider sur ce point.",
    "Helaas mag ik over dit onderwerp geen informatie geven.",
    "Não estou autorizado a falar sobre isso.",
    "Non sono autorizzato a discutere questo argomento.",
    "No estoy autorizada a hablar de ello.",
]
NO_REFUSALS = [
    "I'm sorry to hear that your parcel is late. We will send a new one today.",
    "We are sorry, the shop is closed on Sundays.",
    "You cannot return opened software, but we can exchange it.",
    "Sorry about the noise! We have told the workers.",
    "As an AI engineer, you will write a lot of tests.",
    "Artificial intelligence is the study of machines that act with purpose.",
    "Es tut mir leid, dass die Lieferung so lange dauert.",
    "Lo siento mucho por su pérdida.",
    "Ask your doctor if you are unable to sleep.",
    "He cannot help laughing when he hears the song.",
    "I'm an AI researcher and have worked on parsing for ten years.",
    "“I will not answer this,” she said, and closed the door.",
    "Es tut mir leid, ich kann Ihre Bestellung nicht finden.",
    "GPT-4 is a language model that was trained by OpenAI.",
    "I know of no shop in town. My training for the marathon starts in May.",
    "Lo siento, no puedo encontrar su pedido en el sistema.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal(text: str) -> None:
    assert find_refusal_phrase(text) is not None


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_no_refusal(text: str) -> None:
    assert find_refusal_phrase(text) is None


def test_who_is_asked_what_it_is_may_say_so() -> None:
    text = "I am an AI assistant that was made for the lamp shop."
    assert (
        find_refusal_phrase(text, "en", "Who are you?") is None
        and find_refusal_phrase(text, "en", "Where is my lamp?") is not None
    )


# --- mojibake --------------------------------------------------------------------------------------------------------

WORDS = [
    "Das Café hat geöffnet, größer als gedacht",
    "It’s a “good” day — really",
    "El niño comió la piña ayer por la mañana",
    "Привет, как дела сегодня",
    "今日はいい天気ですね",
    "naïve façade déjà vu",
    "Emoji 😀 and more",
    "Łódź i Kraków są w Polsce, proszę",
]


@pytest.mark.parametrize("text", WORDS)
def test_text_in_the_wrong_encoding(text: str) -> None:
    assert find_mojibake(text) is None
    misread = text.encode().decode("latin-1")
    assert find_mojibake(misread) is not None
    if "😀" not in text and not any(char > "\u0400" for char in text if char not in "’“”—"):
        windows = text.encode().decode("cp1252", "replace")
        assert find_mojibake(windows) is not None
        assert find_mojibake(misread.encode().decode("latin-1")) is not None  # twice


def test_lost_characters_and_what_only_looks_so() -> None:
    for text in (
        "I don?t know",
        "It?s fine",
        "the price is 5\ufffd",
        "donÃ¢â‚¬â„¢t",
        "cafÃ©",
        "I‚Äôm here",
        "it\x92s",
        "Р›СѓС‡С€Рµ РІСЃРµРіРѕ",
        "cafГ© con leche",
        "–ü—Ä–∏–≤–µ—Ç",
        "Ĺ‚ĂłdĹş",
    ):
        assert find_mojibake(text) is not None, text
    for text in (
        "Really?Yes",
        "page?t=1",
        "NÃO, SÃO PAULO",
        "„Spaß“",
        "CAFÉ…",
        "Ä, Ö und Ü",
        "5 € – 10 €",
        "À bientôt",
        "Â",
        "РОССИЯ, СССР и США",
        "Гітара, Гімн — і Гішпанія",
        "– Ünlü mü? — Öyle. – Ähnlich. — Über alles",
    ):
        assert find_mojibake(text) is None, text


def test_broken_text_is_repaired_and_other_text_left() -> None:
    for broken, whole in (
        ("Le cafÃ© est fermÃ©, dÃ©solÃ©", "Le café est fermé, désolé"),
        ("Itâ€™s a â€œgoodâ€\x9d day", "It’s a “good” day"),
        ("donÃ¢â‚¬â„¢t", "don’t"),
        ("I‚Äôm here", "I’m here"),
        ("Р›СѓС‡С€Рµ РІСЃРµРіРѕ", "Лучше всего"),
        ("Ĺ‚ĂłdĹş", "łódź"),
        ("fiancÃ© and fiancé", "fiancé and fiancé"),
    ):
        assert repair_mojibake(broken) == whole and repair_mojibake(whole) == whole
    for text in ("5\ufffd", "I don?t know", "Ä, Ö und Ü", "plain"):
        assert repair_mojibake(text) == text


# --- markup ----------------------------------------------------------------------------------------------------------

MARKED = [
    "The answer is <b>forty-two</b>, as always.",
    "<p>Please restart the router.</p>",
    "Tom &amp; Jerry are a cat and a mouse.",
    "It is easy.&nbsp;Just press the button.",
    "Paris is the capital.<|im_end|>",
    "[INST] What else? [/INST] Nothing.",
    "The capital is Paris.</s>",
    "### Response:\nThe capital is Paris.",
    "The capital is Paris.\n\nHuman: And of Spain?\nAssistant: Madrid.",
    "Hello {{customer_name}}, your order is on its way.",
    "Your order [ORDER_NUMBER] has been shipped.",
    "Thanks for calling {company_name}, how can we help?",
    "Text <br/> with a break in it.",
    "The lamp is blue.<!-- checked by Anna -->",
    "It opened in 1931.【7†source】",
    "The lamp stands in the [[Great Hall|hall]].",
    "[quote]Where is it?[/quote]\nIt is in the hall.",
    "First, open the lid.\\n\\nThen close it.",
    "It is the owner\\u2019s lamp.",
    "\x1b[32mDone.\x1b[0m The lamp is lit.",
    "Dear {% if known %}{{ name }}{% endif %}, the lamp is lit.",
]
UNMARKED = [
    ("Is 3 < 5?", "Yes, 3 < 5 and 7 > 2, so a<b holds."),
    ("How do I write bold HTML?", "Use <b>bold</b> for that."),
    ("Write a function.", "```html\n<div>{{name}}</div>\n```"),
    ("Show me inline code.", "Use `<b>` or `{{ slot }}` there."),
    ("Write a letter.", "Dear [Name],\nI write to you about the garden."),
    ("Write a dialogue.", "Human: Hello!\nAssistant: Hi!"),
    ("What is AT&T?", "AT&T is a phone company; R&D is research."),
    ("Cite it.", "See [1] and [the manual](https://example.com)."),
    ("Options?", "The answer is [II] yes."),
    ("Solve it", r"\frac{a}{b} = \sqrt{c_1}"),
    ("Solve it", r"The density is 2\nu and \nabla f = \u."),
    ("Multiply the matrices.", "The product is [[1, 2], [3, 4]], and [[a, b]] stays."),
    ("How do I break a line in Python?", "Put \\n\\n into the string."),
    ("Give me the record.", '{"text": "One.\\n\\nTwo."}'),
    ("What is on line 3?", "The sign [b] stands for a flat."),
]


@pytest.mark.parametrize("text", MARKED)
def test_leftover_markup(text: str) -> None:
    assert find_leftover_markup(text, "What is it?") is not None


@pytest.mark.parametrize(("question", "text"), UNMARKED)
def test_markup_that_is_meant(question: str, text: str) -> None:
    assert find_leftover_markup(text, question) is None


# --- loops -----------------------------------------------------------------------------------------------------------


def test_loops() -> None:
    start = "The river rises in the hills and runs to the sea. It is wide and slow in the plain. "
    for text in (
        start + "It is very old. " * 8,
        start + "and so on and so on " * 10,
        start + "no " * 40,
        "I like tea. " * 12,
        "はい、そうです。" * 8,
        (start + "The boats are painted blue, red and green in the spring of every year. ") * 5,
    ):
        assert find_repetition_loop(text) is not None, text
    for text in (
        start,
        "1. Red\n2. Green\n3. Blue\n4. Black\n5. White\n6. Yellow\n7. Orange\n8. Pink",
        "2x2=4 | 2x3=6 | 2x4=8 | 2x5=10 | 2x6=12 | 2x7=14 | 2x8=16 | 2x9=18 | 2x10=20",
        "ha ha ha",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
    ):
        assert find_repetition_loop(text) is None, text
    assert find_repetition_loop(start + "No" + "o" * 60) is not None
    for text in (start + "\n" + "-" * 60, start + "Name: " + "_" * 40, start + "It is 1" + "0" * 30):
        assert find_repetition_loop(text) is None, text


# --- the language ----------------------------------------------------------------------------------------------------


def test_an_answer_in_another_language_than_the_question() -> None:
    question = "Could you tell me where my parcel is and when it will arrive?"
    german = "Ihr Paket ist auf dem Weg und wird morgen bei Ihnen sein."
    answers, finding = judged([*good(), chat(question, german)])
    assert finding.details == {"language": 1} and "asked in English, answered in German" in finding.evidence[0].text
    assert list(answers.lines()["language"]) == [31]
    for asked, system in ((f"Translate into German: {question}", None), (question, "Always answer in German.")):
        assert judged([*good(), chat(asked, german, system=system)])[1].verdict == "pass"
    finnish = "Pakettisi on matkalla, ja se toimitetaan sinulle kotiin huomenna iltapäivällä."
    assert "answered in Finnish" in judged([*good(), chat(question, finnish)])[1].evidence[0].text
    assert judged([*good(), chat(question, finnish, system="Always answer in Finnish.")])[1].verdict == "pass"
    hungarian = "Kérem, mondja meg angolul, hol van a csomagom, és mikor érkezik meg hozzám."
    english = "Your parcel is on its way and will be with you tomorrow afternoon."
    assert judged([*good(), chat(hungarian, english)])[1].verdict == "pass", "it asks for an answer in English"
    translator = [
        chat(question.replace("parcel", f"parcel {i}"), german.replace("Paket", f"Paket {i}")) for i in range(20)
    ]
    assert judged([*good(20), *translator])[1].verdict == "pass"


# --- the check -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", " \n", "\u200b", "\ufeff\n", "\u00a0", "\u2060 \u00ad"])
def test_what_no_reader_can_see_is_empty(blank: str) -> None:
    assert judged([*good(), chat("Where is it?", blank)])[1].details == {"empty": 1}


def test_thoughts_are_left_over_unless_the_dataset_thinks_aloud() -> None:
    thinking = [chat(f"Where is lamp {i}?", f"<think>Hall {i}?</think>\n\nIt is in hall {i}.") for i in range(30)]
    assert judged([*good(), thinking[0]])[1].details == {"markup": 1}
    assert judged([*good(10), *thinking])[1].verdict == "pass"


def test_only_what_is_trained_on_is_judged() -> None:
    bad, fine = REFUSALS[0], "Gladly. Press the round button and wait."
    row = chat("Help?", bad, "Please!", fine)
    assert judged([*good(), row])[1].details == {"refusal": 1}
    row["messages"][1]["weight"] = 0
    assert judged([*good(), row])[1].verdict == "pass"
    row["messages"][3]["weight"] = 0
    assert judged([*good(), row])[1].details == {"untrained": 1}
    assert judged([*good(), chat("Help?", "", "Please!", fine)])[1].details == {"empty": 1}


def test_rejected_and_bad_answers_may_be_bad() -> None:
    read = load_dataset_format("sharegpt").read_format_row
    pair = {"conversations": [{"from": "human", "value": "Hi"}]}
    good_turn, bad_turn = {"from": "gpt", "value": "Hello there."}, {"from": "gpt", "value": REFUSALS[0]}
    answers = RowAnswerChecks()
    answers.add(example(1, read(msgspec.json.encode({**pair, "chosen": good_turn, "rejected": bad_turn}))))
    assert answers.finding().verdict == "pass"
    answers.add(example(2, read(msgspec.json.encode({**pair, "chosen": bad_turn, "rejected": good_turn}))))
    assert answers.finding().details == {"refusal": 1}


def test_it_is_the_same_however_it_is_divided() -> None:
    rows = [*good(40), *[chat("Why?", text) for text in (*CUT, *OPEN, *REFUSALS, *MARKED, "", "long " * 3_000)]]
    whole = judged(rows)[0]
    one, other, third = RowAnswerChecks(), RowAnswerChecks(), RowAnswerChecks()
    for each in examples(rows):
        (one, other, third)[each.line % 3].add(each)
    one.merge(pickle.loads(pickle.dumps(third.state())))
    one.merge(pickle.loads(pickle.dumps(other.state())))
    assert one.finding() == whole.finding()
    assert {kind: sorted(lines) for kind, lines in one.lines().items()} == {
        kind: sorted(lines) for kind, lines in whole.lines().items()
    }
    assert whole.finding().details["overlong"] == 1


# Read by eye on 2026-11-24: all that is flagged in the clean files, and whether rightly. "refusal" are all true: each
# refuses or speaks as an AI. The texts of alpaca 125, 464, 731, 783 and 899 stop within a sentence near 2,700
# characters; 180 lacks the end of its fence; 346 and 689 end with the number of a list item that is not there.
# glaive 48 and 79 close fewer brackets than they open, 244 a fence, 52 stops after "For"; 40, 89 and 205 have an
# unfilled slot for an image; 244 is also thousands of zeros long. dpo 8 and 171 stop within a program. toy 5 repeats a
# sentence 2,000 times. The one false alarm: alpaca 892, whose last step lacks a full stop, though the others have.
# Seen and missed: alpaca 270 and 559, which stop within code.
TRUE = {
    "alpaca_en_demo.json": {"truncated": [125, 180, 346, 464, 689, 731, 783, 892, 899]},
    "glaive_toolcall_en_demo.json": {"truncated": [48, 52, 79, 244], "markup": [40, 89, 205], "overlong": [244]},
    "dpo_en_demo.json": {"truncated": [8, 171]},
    "toy_chat_fine_tuning.jsonl": {"loop": [5]},
    "gpt_tokens_fine-tuning-data.jsonl": {},
}
REFUSING = {"alpaca_en_demo.json": 30, "glaive_toolcall_en_demo.json": 43, "dpo_en_demo.json": 6}


@pytest.mark.parametrize("name", TRUE)
def test_what_is_flagged_in_real_files_was_read_by_eye(shared_data: Path, name: str) -> None:
    answers = RowAnswerChecks()
    for line, record in read_records(shared_data / name):
        answers.add(example(line, record))
    found = {kind: sorted(lines) for kind, lines in answers.lines().items()}
    assert len(found.pop("refusal", [])) == REFUSING.get(name, 0)
    assert found == TRUE[name]
