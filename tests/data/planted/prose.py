"""English questions and answers, composed sentence by sentence: plain, varied, and nobody's property.

The texts are clean by construction: whole sentences, no markup, no personal data, no two alike.
"""

from __future__ import annotations

import re
from random import Random


def listed(text: str) -> list[str]:
    """Items between bars, on as many lines as they need."""
    return [" ".join(item.split()) for item in text.split("|") if item.strip()]


SUBJECTS = listed("""
sourdough bread | a bicycle chain | the tides | a rooftop garden | double-entry bookkeeping | a wood stove |
honey bees | a mountain hike | compound interest | a violin bow | the printing press | a hash table | river
otters | a marathon plan | glazed pottery | the water cycle | a job interview | winter tyres | a chess opening |
solar panels | the Silk Road | a compost heap | noise in a photograph | a tax return | the human ear | a sailing
knot | public libraries | a sorting algorithm | coffee roasting | volcanic soil | a wedding speech | the metric
system | a leaking tap | migrating storks | a board meeting | cheese ripening | the moon landing | a database
index | train timetables | a knitted jumper | coral reefs | a rental contract | the violin section | ice cores |
a vegetable stew | a night shift | stained glass | the stock market | a toddler's sleep | bamboo scaffolding |
rain gauges | a museum visit | sea salt | a small bakery | the postal service | a telescope mirror | wild
mushrooms | a language exam | paper recycling | a stone wall | the nervous system | a theatre rehearsal |
electric buses | a beehive inspection | old maps | a science fair | lighthouse lamps | a pension plan | fern
spores | a fishing net | the jury system | a bread oven | clay bricks | a weather balloon | orchard pruning | a
debate club | desert plants | a ferry crossing
""")
ASPECTS = listed("""
cost | history | safety | maintenance | planning | timing | materials | common mistakes | measurement | storage
| training | weather | noise | teamwork | colour | temperature | scale | patience | tools | paperwork | first
steps | repairs | transport | quality | habits | energy use | local customs | seasonal change | documentation |
testing
""")
PEOPLE = listed("""
my neighbour | our teacher | a colleague | my aunt | the new apprentice | a friend from school | our landlord |
the head cook | my cousin | a retired engineer | the librarian | our coach | a visiting student | my grandfather
| the site manager | a careful editor | the choir leader | our accountant | a young farmer | the night nurse
""")
PLACES = listed("""
in a small town | near the harbour | at the workshop | behind the old mill | on the third floor | beside the
railway | in a damp cellar | at the village hall | on the north slope | in a shared kitchen | at the evening
class | along the canal | in the school yard | at the regional office | under the bridge | in a quiet suburb |
on the coast | at the community centre | in the mountains | close to the border
""")
TIMES = listed("""
last autumn | on Tuesday mornings | for eleven years | since the spring | during the holidays | every second
week | after the storm | before dawn | over the winter | in the first month | around noon | for a whole season |
at the end of June | twice a year | in the late evening | for about three weeks | until recently | after lunch |
all through August | ever since the move
""")
ADJECTIVES = listed("""
careful | surprising | slow | reliable | uneven | practical | modest | demanding | familiar | delicate | sturdy
| narrow | gentle | costly | simple | patient | stubborn | balanced | thorough | clumsy | bright | ordinary |
useful | fragile | steady | awkward | generous | honest | rough | tidy
""")
THINGS = listed("""
a notebook | two spare parts | a sharp pencil | the right spacing | clean water | a short checklist | a second
opinion | fresh air | a level surface | the original receipt | a dry cloth | plain language | a trial run | an
honest estimate | the correct order | a backup plan | good lighting | a cool room | exact figures | a bit of
luck | warm clothing | an early start | written rules | a steady hand | a fair comparison | some chalk | a wide
margin | regular breaks | a rough sketch | proper labels
""")
VERBS = listed("""
measure | check | describe | compare | adjust | clean | explain | prepare | inspect | repeat | simplify | record
| question | sketch | protect | weigh | observe | sort | replace | review | improve | test | estimate | arrange
| trim | count | discuss | label | store | balance
""")
EFFECTS = listed("""
the result holds for longer | nobody has to guess | small faults show up early | the cost stays low | the work
feels lighter | others can follow along | waste drops noticeably | the whole thing dries evenly | mistakes
become rare | the surface stays smooth | people trust the numbers | the schedule survives a bad day | the sound
becomes clearer | the flavour deepens | there is time left over | the structure carries more weight | beginners
keep going | questions answer themselves | the colours stay true | the budget closes
""")

ASKS = (
    "How should I approach the {aspect} of {subject}?",
    "What matters most about {subject} when it comes to {aspect}?",
    "Could you explain {subject} with a focus on {aspect}?",
    "Why does {aspect} play such a role in {subject}?",
    "Write a short note on {subject} and its {aspect}.",
    "Give me some advice on {aspect} for {subject}.",
    "I know little about {subject}. Where does {aspect} come in?",
    "Tell a beginner what {aspect} means for {subject}.",
    "Compare two ways of handling the {aspect} of {subject}.",
    "Summarise what people get wrong about {subject}, above all its {aspect}.",
)
CONTEXTS = (
    "{Person} has worked {place} {time} and brought {thing}.",
    "{Time} we tried to {verb} everything {place}, with a {adjective} outcome.",
    "There was {thing} {place}, yet {person} called it a {adjective} choice.",
    "I want to {verb} it myself, because {person} did so {time}.",
    "So far I have {thing} and a {adjective} idea of what to {verb}.",
    "{Person} insists that {effect} once you {verb} {thing}.",
    "The setting is {adjective}: {place}, {time}, with {thing}.",
    "People {place} usually {verb} first and ask {person} later.",
    "My own attempt {time} was {adjective}, although {effect}.",
    "It began {place}, when {person} asked for {thing}.",
)
STATEMENTS = (
    "Start with {thing}, since {effect} that way.",
    "The {aspect} of {subject} is more {adjective} than it looks.",
    "{Person} would tell you to {verb} and {verb2} before anything else.",
    "With {thing} and {thing2} at hand, {effect}.",
    "{Time}, a {adjective} routine beats a {adjective2} one.",
    "It helps to {verb} in small steps, because {effect}.",
    "Many people {place} skip this and then have to {verb} twice.",
    "A {adjective} habit is to {verb} {thing} and to {verb2} what remains.",
    "When {effect}, you can move on to the {adjective} part.",
    "If {thing} is missing, {person} can often lend {thing2}.",
    "That is why {subject} rewards a {adjective} and {adjective2} approach.",
    "Experience shows that {effect}, provided you {verb} early.",
    "Keep {thing} close, and {verb} once more {time}.",
    "Of course, {aspect} also depends on whether you work {place}.",
    "In the end {effect}, and that was the {adjective} goal all along.",
    "Some prefer to {verb} {place}, others {verb2} at home.",
    "The {adjective} answer is that {aspect} takes time.",
    "Nothing about {subject} forces you to {verb} alone, so ask {person}.",
    "{Thing} costs little, and with it {effect}.",
    "By contrast, a {adjective} start {place} means that you must {verb2} later.",
)


def sentence(pattern: str, rng: Random, subject: str = "", aspect: str = "") -> str:
    """Fill one pattern; a capitalised slot starts with a capital letter, and `a` becomes `an` where it has to."""
    chosen = {
        "subject": subject or rng.choice(SUBJECTS),
        "aspect": aspect or rng.choice(ASPECTS),
        "person": rng.choice(PEOPLE),
        "place": rng.choice(PLACES),
        "time": rng.choice(TIMES),
        "effect": rng.choice(EFFECTS),
    }
    chosen["thing"], chosen["thing2"] = rng.sample(THINGS, 2)
    chosen["verb"], chosen["verb2"] = rng.sample(VERBS, 2)
    chosen["adjective"], chosen["adjective2"] = rng.sample(ADJECTIVES, 2)
    chosen |= {name.capitalize(): text[0].upper() + text[1:] for name, text in chosen.items()}
    return re.sub(r"\b([Aa]) (?=[aeio]|uneven|honest)", r"\1n ", pattern.format(**chosen))


def paragraph(rng: Random, sentences: int, subject: str = "", aspect: str = "") -> str:
    patterns: list[str] = []
    while len(patterns) < sentences:
        patterns += rng.sample(STATEMENTS, min(len(STATEMENTS), sentences - len(patterns)))
    return " ".join(sentence(pattern, rng, subject, aspect) for pattern in patterns)


def question(rng: Random, contexts: int) -> tuple[str, str, str]:
    """A question after or before some sentences of context; its subject and its aspect."""
    subject, aspect = rng.choice(SUBJECTS), rng.choice(ASPECTS)
    ask = rng.choice(ASKS).format(subject=subject, aspect=aspect)
    told = [sentence(pattern, rng) for pattern in rng.sample(CONTEXTS, contexts)]
    told.insert(rng.choice((0, len(told))), ask)
    return " ".join(told), subject, aspect
