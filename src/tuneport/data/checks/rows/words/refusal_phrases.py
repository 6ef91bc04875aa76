"""Phrases with which assistants refuse, and speak of themselves: patterns by language, for text in lower case.

A refusal is a speaker who cannot, may not or will not, and a thing that only an assistant does for a living: help with
a request, answer a question, write a text. "I cannot find your order" is no refusal, nor is "I can't stand it". `MARKS`
are pieces of words, one of which each pattern of the language has: `refusals.py` looks for those first, because it is
quicker.
"""

from __future__ import annotations

REFUSAL_MARKS = {
    "en": "sorry|apolog|cannot|can't|can not|unable|not able|won't|will not|decline|ppropriate for me|allowed|permitted"
    "|not something|refuse|rather not|comfortable|guidelines|content polic|programming|outside|beyond|ability to|way to"
    "|position to|regret|pass on",
    "es": "no puedo|no podr|no me |no estoy|no soy capaz|no tengo perm|siento|lamento",
    "pt": "não posso|não consigo|não poderei|não me |não estou|não sou capaz|não tenho perm|desculp|sinto|lament",
    "it": "non posso|non sono|non mi |non potrò|dispiace",
    "de": "kann|darf|nicht möglich|nicht gestattet|nicht in der lage|nicht befugt|nicht berechtigt|ablehnen",
    "nl": "kan|mag|niet in staat|niet bevoegd|niet gemachtigd|spijt",
    "sv": "inte",
    "fr": "je ne |impossible de|m'est pas",
    "pl": "nie mogę|nie jestem w stanie|nie potrafię|przykro",
    "tr": "üzgünüm|olamam|veremem|edemem|yapamam|yanıtlayamam|getiremem",
    "ru": "не могу|не смогу|не в состоянии|не вправе|не имею",
    "ja": "できま|できかね|いたしかね|お答え",
    "zh": "抱歉|对不起|很遗憾|我无法|我不能|不便",
    "ko": "죄송|수 없",
}

_EN_CANNOT = r"\bi (?:can't|cannot|can not|couldn't|won't|will not)"
_EN_NOT_ABLE = (
    r"\bi(?:'m| am) (?:currently |unfortunately |afraid |sorry,? (?:but )?)*(?:i'm |i am )?"
    r"(?:unable|not able|not in a position|not going) to"
    r"|\bi (?:won't|will not) be able to|\bi (?:don't|do not) have the (?:ability|capability|capacity) to"
    r"|\bi have no way (?:to|of)"
)
_EN_NOT_ALLOWED = r"(?:not|never) (?:allowed|permitted|authori[sz]ed|designed|programmed|willing) to"
_EN_DO = (
    r"(?:assist|help|be of (?:help|assistance|service)|provid|fulfil|comply|complet\w+ (?:this|that|your) request"
    r"|generat|creat|answer|respond|engag|support|discuss|writ|shar|produc|offer|process (?:this|that|your) request|giv"
    r"|participat|talk about|speak (?:about|on)|advis|satisf|accommodat|continu|tell you|say (?:anything|that))"
)
_EN_WORK = r"(?:perform|brows|access|book|plac|order|retriev|estimat)"
_EN_SORRY = r"(?:sorry|apologi[sz]e|apologies|regret)\b[^.!?:\n]{0,60}?"
REFUSALS = {
    "en": (
        rf"{_EN_SORRY}\bi (?:can't|cannot|can not|won't|will not|must decline|refuse)",
        rf"{_EN_SORRY}\bi don't have (?:the (?:ability|capability)|access|real-?time)",
        rf"{_EN_SORRY}\bas (?:an ai|a language)\b",
        rf"(?:{_EN_NOT_ABLE}) (?:{_EN_DO}|{_EN_WORK})",
        rf"(?:sorry|apologi[sz]e|apologies)[^.!?\n]{{0,20}}?(?:unable|not able) to (?:{_EN_DO}|process)",
        rf"\bi(?:'m| am) {_EN_NOT_ALLOWED} {_EN_DO}",
        rf"{_EN_CANNOT} (?:assist|help (?:you )?(?:with|(?:to )?do)|help you\b(?= ?[.!])|provide|fulfil|comply"
        rf"|generate|create"
        r"|engage in|discuss|do that[.!,]|in good conscience|satisfy|participate|respond to (?:this|that|your|such)"
        r"|answer (?:this|that|your|such|any|questions)|write (?:this|that|such|content)|be of (?:help|assistance)"
        r"|share (?:this|that|such|any)|support (?:this|that|such|your)|offer|continue (?:with )?(?:this|that))",
        r"\bi (?:must|have to|need to|will have to|'m going to have to) (?:respectfully |politely )?(?:decline|refuse)",
        rf"\bi (?:respectfully |politely )?(?:refuse|decline) to {_EN_DO}",
        r"have to pass on (?:this|that|your)",
        rf"\bi(?:'d| would) (?:rather|prefer) (?:not|not to) {_EN_DO}",
        rf"\bi (?:don't|do not) feel comfortable (?:{_EN_DO}ing|doing (?:this|that))",
        rf"\bi(?:'m| am) not comfortable (?:{_EN_DO}ing|doing (?:this|that)|with (?:this|that|your) request)",
        rf"not something (?:that )?i(?:'m| am)? ?(?:can|could|will|able to|allowed to|permitted to"
        rf"|comfortable) ?{_EN_DO}",
        r"(?:outside|beyond) (?:of )?(?:what i(?:'m| am)? ?(?:can|able)|my (?:scope|capabilities|abilities"
        r"|programming))",
        r"(?:against|violat\w+|contrary to|conflicts? with|breach\w*|not allowed by) my (?:own )?(?:content |usage "
        r"|safety"
        r"|ethical |core |use )*(?:guidelines|polic|programming|principles|instructions)",
        r"violat\w+ (?:my|our|the|openai's|openai) (?:content|usage|use-case|safety) polic",
        r"(?:would be|is|would|wouldn't|isn't)(?: not)? (?:be )?(?:appropriate|inappropriate) for me to",
    ),
    "es": (
        r"(?:siento|lamento|perd[oó]n\w*|disculp\w+|lamentablemente)\b[^.!?\n]{0,50}?\bno (?:puedo|podr[ée]"
        r"|me es posible)"
        r"(?: \w+)? ?(?:[.!]|con (?:eso|esto))",
        r"\bno (?:puedo|podr[ée]|me es posible|me está permitido|estoy (?:autorizad|capacitad|en condiciones)\w*"
        r"|soy capaz"
        r"|tengo permi\w+)(?: de| a| para)? (?:ayudar|asistir|responder|contestar|proporcionar|cumplir|generar|hablar"
        r"|atender|compartir|ofrecer|crear ese|escribir es|facilitar|hacer eso|brindar|discutir|realizar es|satisfacer"
        r"|dar(?:te|le)? (?:esa|una respuesta|consejo)|complacer|participar)",
    ),
    "pt": (
        r"\bnão (?:posso|consigo|poderei|me é (?:possível|permitido)|estou (?:autorizad|apt|em condições)\w*|sou capaz"
        r"|tenho permissão)(?: de| a| para)? (?:te |lhe |o |a )?(?:ajud|respond|fornec|atend|cumpr|ger(?:ar|á)"
        r"|falar sobre"
        r"|compartilh|partilh|discut|criar es|escrever es|auxili|fazer isso|oferec|dar (?:ess|uma resp|consel)|prest"
        r"|particip|satisf)",
        r"(?:desculp\w+|sinto muito|lamento|infelizmente)\b[^.!?\n]{0,40}?\bnão (?:posso|consigo) (?:fazer isso"
        r"|com isso)",
    ),
    "it": (
        r"\bnon (?:posso|potrò|sono (?:in grado|autorizzat\w|capace)|mi è (?:possibile|permesso|consentito))(?: di"
        r"| a)? "
        r"(?:aiut|rispond|forn|soddisf|generare|parlar|discut|condivid|creare quest|scrivere quest|assist|farlo|esaud"
        r"|offr|dar\w* (?:seguito|quest|consigl)|procedere con quest|partecip|accontent)",
    ),
    "de": (
        r"\b(?:kann ich|ich kann|darf ich|ich darf|werde ich|ich werde|möchte ich|ich möchte)\b[^.!?\n]{0,70}?"
        r"\b(?:nicht|keine?n?) ?[^.!?\n]{0,25}?(?:helfen|behilflich|beantworten|antworten|erfüllen|nachkommen"
        r"|bereitstellen"
        r"|geben|unterstützen|erstellen|schreiben|generieren|sprechen|auskunft|besprechen|erzeugen|entsprechen|eingehen"
        r"|dienen)\b",
        r"(?:tut mir (?:sehr |wirklich )?leid|entschuldig\w*|leider)\b[^.!?\n]{0,40}?(?:kann|darf) ich (?:das"
        r"|dies) (?:leider )?"
        r"nicht(?: tun| machen)?[.!]",
        r"(?:bin|ist es) (?:mir )?(?:leider )?nicht (?:in der lage|befugt|berechtigt|möglich|gestattet"
        r"|erlaubt)[^.!?\n]{0,60}?"
        r"(?:helfen|antworten|unterstützen|bereitzustellen|erfüllen|geben|schreiben|erstellen|besprechen)",
        r"\b(?:muss ich|ich muss)\b[^.!?\n]{0,40}?\bablehnen",
    ),
    "nl": (
        r"\b(?:kan|mag|zal|wil) ik\b[^.!?\n]{0,60}?\b(?:niet|geen)\b[^.!?\n]{0,25}?(?:helpen|beantwoorden|ingaan"
        r"|voldoen"
        r"|verstrekken|geven|bespreken|delen|assisteren|schrijven|genereren|antwoorden|maken|praten)\b",
        r"\bik (?:kan|mag|zal|wil)\b[^.!?\n]{0,60}?\b(?:niet|geen)\b[^.!?\n]{0,25}?(?:helpen|beantwoorden|ingaan"
        r"|voldoen"
        r"|verstrekken|geven|bespreken|delen|assisteren|schrijven|genereren|antwoorden|maken|praten)\b",
        r"\b(?:ben ik|ik ben)\b[^.!?\n]{0,20}?niet (?:in staat|bevoegd|gemachtigd|toegestaan)",
    ),
    "sv": (
        r"\b(?:kan|får|tänker) (?:jag )?(?:tyvärr )?inte (?:hjälpa|bistå|svara|besvara|tillhandahålla|diskutera|ge dig"
        r"|uppfylla|generera|skriva (?:det|den)|skapa (?:det|den)|delta)",
    ),
    "fr": (
        r"\bje ne (?:peux|puis|pourrai|suis)(?: malheureusement| hélas| donc)?(?: pas)?(?: (?:en mesure|capable"
        r"|autorisée?"
        r"|habilitée?|programmée?|à même|pas))*(?: de| d'|à|pour)? ?(?:vous |t'|te |y |lui )?(?:aider|assister|répondre"
        r"|fournir|générer|satisfaire|donner (?:suite|de conseil|cette)|discuter|parler de|faire (?:cela|ça)"
        r"|créer (?:ce|cette)"
        r"|écrire (?:ce|cette)|accéder à (?:cette|votre) demande|traiter (?:cette|votre)|partager|participer)",
        r"\bil (?:m'est|ne m'est) (?:malheureusement )?(?:impossible|pas possible|pas permis) (?:de |d')(?:vous "
        r"|t')?(?:aider"
        r"|assister|répondre|fournir|générer|satisfaire|donner|discuter|parler|traiter)",
        r"désolée?\b[^.!?\n]{0,40}?je ne (?:peux|puis) pas(?: faire (?:ça|cela))?[.!]",
    ),
    "pl": (
        r"\bnie (?:mogę|jestem w stanie|potrafię|wolno mi)(?: ci| panu| pani| w tym)? (?:pomóc|udzielić|spełnić"
        r"|odpowiedzieć"
        r"|odpowiadać|wygenerować|napisać te|rozmawiać|podać|dostarczyć|pomagać)",
        r"przykro mi\b[^.!?\n]{0,40}?nie mogę",
    ),
    "tr": (
        r"üzgünüm\b.{0,60}?(?:edemem|yapamam|olamam|veremem|edemiyorum|yapamıyorum|olamıyorum|yanıtlayamam)",
        r"yardımcı olamam|cevap veremem|yanıt veremem|yardım edemem|(?:isteğ\w+|talebin\w+) yerine getiremem",
    ),
    "ru": (
        r"(?:извините|простите|к сожалению|прошу прощения|сожалею)\b[^.!?\n]{0,30}?не (?:могу|смогу)\b",
        r"\bя не (?:могу|смогу|в состоянии|вправе|имею возможности) (?:вам |тебе |с этим )?(?:помочь|предостав"
        r"|выполнить"
        r"|ответить|отвечать|обсуждать|помогать|сгенерировать|поделиться)",
    ),
    "ja": (
        r"(?:申し訳|すみません|恐れ入り|残念).{0,60}?(?:できません|できかねます|いたしかねます|お答え)",
        r"(?:お答え|お手伝い|お応え|ご提供|対応|回答|ご案内)(?:することは|は|が)?(?:できません|できかねます|いたしかねます)",
    ),
    "zh": (
        r"(?:抱歉|对不起|很遗憾).{0,12}?(?:我|无法|不能).{0,4}?(?:无法|不能|不可以|不便)",
        r"我(?:无法|不能|不便)(?:提供|协助|帮助|满足|回答|生成|讨论|为您)",
    ),
    "ko": (
        r"죄송.{0,60}?(?:수 없습니다|수 없어요|어렵습니다|드릴 수 없)",
        r"(?:도와드릴|답변드릴|답변할|답변해 드릴|제공할|제공해 드릴) 수 없",
    ),
}

SELF_MARKS = {
    "en": "training|an ai|language model|artificial intelligence|machine learning|machine-learning|virtual assistant"
    "|chatbot|computer program|knowledge|personal |physical body|feelings|emotions|internet|real-time|realtime|chatgpt"
    "|openai|anthropic|by google|by meta",
    "es": "modelo de l|como ia|una ia|inteligencia artificial|asistente virtual|asistente de",
    "pt": "modelo de l|como ia|uma ia|inteligência|assistente virtual|assistente de",
    "it": "modello ling|come ia|un'ia|intelligenza|assistente virtuale",
    "de": "sprachmodell|als ki|eine ki|künstliche|virtueller assistent",
    "nl": "taalmodel|als ai|een ai|kunstmatige|virtuele assistent",
    "sv": "som ai|en ai|språkmodell",
    "fr": "tant qu|je suis un",
    "pl": "model językowy|sztuczna|modelem językowym",
    "ru": "языковая модель|как ии|искусственный интеллект",
    "ja": "言語モデル|aiとして|aiアシスタント|aiなので|aiである|aiです|人工知能",
    "zh": "语言模型|人工智能|作为",
    "ko": "언어 모델|인공지능|ai로서",
}
FIRST_PERSON = ("i ", "i'", "sorry", "apolog", "for me to", "my guide", "policy", "policies", "my program")
"""Pieces: each English pattern of `REFUSALS` has one of them, and its other pieces stand near it."""
SPEAKERS = ("i ", "i'", "an ai", "my ", "model", "assistant", "knowledge", "intelligence", "chatbot", "program")
"""The same for `SELF`."""
ANYWHERE = ("AI", "anguage model", "y training", "nowledge")
ANYWHERE_BESIDE_I = ("he internet", "personal ", "physical body", "eelings or", "ChatGPT", "real-time")
"""Pieces as they are written, anywhere in a text: the English patterns of `SELF` are looked for beside them."""

ASKS_WHO = (
    r"who (?:are|made|created|built|trained|developed|designed) you|what(?:'s| is) your name|what are you\b"
    r"|are you (?:an? |really )?"
    r"(?:ai|human|bot|robot|chat|real|person|machine|language|computer|sentient|conscious)|introduce yourself"
    r"|about yourself"
    r"|your (?:creator|developer|maker|training)|can you feel|do you have (?:feelings|emotions|opinions)|knowledge cut"
    r"|wer bist du|wer sind sie|qui es-tu|qui êtes-vous|quién eres|quem é você|quem és|chi sei|wie ben je|kim jesteś"
    r"|kimsin"
    r"|кто ты|кто вы|你是谁|你叫什么|あなたは誰|너는 누구|당신은 누구"
)
QUOTED = (("“", "”"), ("«", "»"), ("「", "」"), ("„", "“"))

_EN_AI = (
    r"(?:(?:large |advanced |text-based |digital |simple |mere )*(?:ai|a\.i\.|artificial intelligence"
    r"|(?:large )?language"
    r"|machine[- ]learning)(?:[ -](?:language|based|powered|learning))*(?:[ -](?:model|assistant|system|chatbot|bot"
    r"|program"
    r"|agent|tool))?|(?:virtual|digital) assistant|chatbot|computer program)\b"
)
_EN_PEOPLE = (
    r"(?! (?:engineer|research|develop(?:er|ment)|scien|student|enthusiast|expert|special|consult|compan|startup"
    r"|start-up"
    r"|user|ethic|practition|professional|team|lab|teacher|artist|trainer|strateg|product|manager|program(?:mer|me)"
    r"|policy"
    r"|investor|author|skeptic|safety|or\b|and\b(?! (?:do|don't|have|can|cannot|can't|am)\b)))"
)
_EN_MAKERS = r"(?:openai|anthropic|google|meta\b|microsoft|mistral|alibaba|deepseek|xai|cohere|stability ai)"
SELF = {
    "en": (
        rf"\b(?:as|being) an? {_EN_AI}{_EN_PEOPLE}(?:,(?! (?:it|they|he|she) )| i\b| it'?s\b| my\b| developed| created"
        r"| trained| built| designed| without)",
        rf"\bspeaking as an? {_EN_AI}{_EN_PEOPLE}",
        rf"\bi(?:'m| am)(?: just| only| merely| simply| still| but| not a (?:human"
        rf"|person),? but(?: rather)?)* an? {_EN_AI}"
        rf"{_EN_PEOPLE}",
        r"\bi (?:do not|don't|cannot|can't) (?:actually |really )?(?:have|possess|hold|form|experience)(?: any| a"
        r"| the)?"
        r"(?: own| human)? ?(?:(?:personal|subjective) (?:opinions?|feelings?|emotions?|beliefs?|experiences?"
        r"|preferences?"
        r"|views|memor)|physical (?:body|form|presence)|(?:feelings|emotions|opinions|consciousness|sentience|thoughts)"
        r" (?:or|and) )",
        r"\b(?:my|the) (?:last |latest |most recent )?knowledge (?:cut-?off|update|base (?:ends|only))",
        r"\bmy (?:last |latest |most recent )?(?:knowledge|training)(?: data)? (?:only )?(?:ends|stops"
        r"|goes (?:up )?to|goes only"
        r"|extends|was last|is limited to|is current|is up to|includes|does not|doesn't|cut-?off|update|comes from)",
        r"\bas of my (?:last|latest|most recent|current|knowledge|training)",
        r"\bmy training data\b",
        r"\bi (?:cannot|can't|can not|do not|don't|am unable to|am not able to|'m not able to|'m unable to)"
        r"(?: directly| currently| actually)* (?:browse|surf|search|access|connect to|have (?:direct |live "
        r"|real-?time )*"
        r"(?:access to|the ability to (?:browse|access|search)))(?: the| to)*(?: live| real-?time| current"
        r"| up-to-date)*"
        r" (?:internet|web\b|online|data\b|information|news|updates|databases)",
        r"\bi(?:'m| am) (?:chatgpt|gpt-?\d|deepseek|qwen|(?:claude|gemini|bard|grok|llama|copilot|mistral|siri|alexa)"
        r",? (?:an?|the|your) (?:ai|large|language|artificial|assistant|virtual|chatbot))",
        rf"\b(?:i was|i'm|i am|i have been)\b[^.!?\n]{{0,50}}?\b(?:trained|created|developed|made|built|designed) by"
        rf" {_EN_MAKERS}",
        r"\bi was (?:trained|programmed|designed) (?:to|on|by|as|with)\b[^.!?\n]{0,30}?(?:language model|\bai\b"
        r"|\bdata\b|texts?\b)",
        r"\ban ai developed by\b",
    ),
    "es": (
        r"\b(?:como|soy|al ser)(?: solo| solamente| un| una| gran)* (?:modelo de lenguaje|ia\b|inteligencia artificial"
        r"|asistente (?:virtual|de ia|de inteligencia))",
    ),
    "pt": (
        r"\b(?:como|sou|por ser)(?: apenas| só| um| uma| grande)* (?:modelo de linguagem|ia\b|inteligência artificial"
        r"|assistente (?:virtual|de ia|de inteligência))",
    ),
    "it": (
        r"\b(?:come|in quanto|sono|essendo)(?: solo| solamente| un| una| grande)* ?(?:un')?(?:modello linguistico|ia\b"
        r"|intelligenza artificiale|assistente virtuale)",
    ),
    "de": (
        r"\b(?:als|bin|bin ich)(?: nur| lediglich| bloß| eine?| großes)* (?:ki\b|ki-|künstliche intelligenz"
        r"|sprachmodell"
        r"|virtueller assistent)(?!forsch|entwick|expert)",
    ),
    "nl": (
        r"\b(?:als|ben|ben ik)(?: slechts| maar| een| groot)* (?:ai\b|taalmodel|kunstmatige intel|virtuele assistent)",
    ),
    "sv": (r"\b(?:som|är)(?: bara| en)* (?:ai\b|språkmodell)",),
    "fr": (
        r"\b(?:en tant qu(?:e |')|je (?:ne )?suis (?:qu')?)(?:une? )?(?:simple |grand )?"
        r"(?:ia\b|assistante? (?:ia|virtuel)|modèle de lang|intelligence artificielle|grand modèle)",
    ),
    "pl": (
        r"\bjako (?:model językowy|sztuczna inteligencja|ai\b)",
        r"jestem (?:tylko )?(?:modelem językowym|sztuczną intel)",
    ),
    "ru": (
        r"\bкак (?:языковая модель|ии\b|искусственный интеллект)",
        r"\bя (?:всего лишь |лишь |— |- )?(?:языковая модель|ии\b)",
    ),
    "ja": (
        r"(?:ai|人工知能|言語モデル|aiアシスタント|ai言語モデル)(?:として|なので|であるため|ですので)",
        r"私は.{0,12}?(?:ai|人工知能|言語モデル|aiアシスタント)(?:です|であり|で、)",
    ),
    "zh": (r"(?:作为|我(?:只)?是)(?:一个|一款|一名|一种)?(?:ai|人工智能|大?型?语言模型)",),
    "ko": (r"(?:ai|인공지능)? ?언어 모델(?:로서|이기|입니다)|(?:ai|인공지능)로서",),
}
