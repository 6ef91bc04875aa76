"""Frequent words and letters by language: what `language.py` tells languages apart by.

Written down by hand: the articles, pronouns, prepositions, conjunctions and auxiliaries that any text of some length
has. Words of one letter are left out where they are letters of formulas, too.
"""

from __future__ import annotations

NAMED = ("en", "es", "de", "fr", "it", "pt", "nl", "pl", "tr", "sv", "ru", "uk")
GUARDS = ("da", "fi", "cs", "ro", "hu", "id", "ca", "bg")
"""Known only so as not to be taken for a neighbour: Danish (and Norwegian) for Swedish, Catalan for Spanish ..."""

WORDS = {
    "en": """the of and to in is that it for was on are as with his they be at this have from or had by but what some we
        can out other were all there when up use your how said an each she which do their if will way about many then
        them would these so her him has more could my than been who its now did get may you he not what's it's i'm don't
        please should because after before where why does just also into only any over such here very
        two three four five seven eight ten identify create write rewrite construct develop draft differentiate
        summarize summarise classify calculate convert suggest provide find make given following between good importance
        generate using words""",
    "es": """el la los las de que y en un una es por con para no se su sus al del lo como más pero le ya o este esta
        estos estas sí porque cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno
        les ni contra otros ese eso ante ellos e mí antes algunos qué unos yo otro otras otra él tanto esa mucho nada
        muchos cual poco ella estar está están son puede pueden ser tiene tienen fue era mi te tu cómo cuál gracias
        usted favor hola quiero puedo""",
    "de": """der die das und ist von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat dass sie
        nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch
        man sein wurde sei ich du wir ihr mich mir dich dir uns euch mein dein kann können muss soll wenn weil was wer
        wo warum wann sehr hier dann schon doch immer ihre ihren ihrer dem den im bitte keine kein diese dieser dieses
        ja nein habe bin""",
    "fr": """le la les de des du et est en un une que qui dans pour pas sur avec ce il au aux par ne se sont plus son sa
        ses mais ou nous vous je tu elle ils elles cette ces comme tout tous fait être avoir été était peut leur leurs
        si sans aussi bien très où quand comment pourquoi quoi dont même entre après avant chez c'est n'est qu'il
        d'un d'une l'on j'ai mon ma mes votre vos notre nos lui donc car alors ont suis peux faut merci bonjour quel
        quelle""",
    "it": """il lo la i gli le di e è che in un una uno per non con si da del della dei delle degli al alla alle nel
        nella nei nelle sul sulla come più ma anche sono ho ha hanno questo questa questi queste quello quella se o
        dove quando perché chi cosa mio mia suo sua loro noi voi io tu lui lei essere stato stata era molto tutto
        tutti dal dalla ci mi ti vi ne già così ancora poi sempre può possono fare c'è dell'  grazie ciao quale
        quali""",
    "pt": """o a os as de do da dos das e é que em um uma para com não por se no na nos nas mais como mas ao aos à às
        foi ele ela eles elas sua seu seus suas ou ser quando muito há está estão também já só pelo pela pelos pelas
        até isso isto entre era depois sem mesmo ter tem têm quem me esse essa esses essas você vocês eu nós meu minha
        são onde porque qual quais pode podem fazer obrigado olá uns umas sobre este esta""",
    "nl": """de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit door naar heeft
        hebben ik je jij hij zij ze wij we jullie hun haar mijn uw deze dit die wat wie waar waarom wanneer hoe kan
        kunnen moet moeten zal zou worden wordt werd geen nog wel meer over tot tegen onder omdat zo veel heel
        goed hier daar ben bent was waren had graag bedankt uit""",
    "pl": """i w na z do się nie to że jest o jak po co ale za od przez dla są tym tego ten ta te tej był była było były
        czy już tylko może można także oraz który która które których przy jego jej ich być będzie mnie mi ja ty my wy
        on ona ono oni gdy kiedy gdzie dlaczego bardzo tak ze we pod nad bez sobie swoje lub więc jeśli aby żeby
        ponieważ proszę mam masz mój moja""",
    "tr": """ve bir bu da de için ile ne çok daha gibi olarak olan var en kadar sonra ama o ben sen biz siz onlar mi mı
        mu mü ya ki her şey değil ise veya hem ancak çünkü nasıl neden niçin nerede zaman önce bana sana ona bizim
        sizin benim senin onun olduğu oldu olur eder etmek ediyor lütfen evet hayır yok göre kendi şu diye tüm bazı
        hangi kim""",
    "sv": """och i att det som en på är av för med den till inte om ett har de jag han hon vi ni du var så men sig från
        kan när man eller vad nu där här hur vill ska skulle hade mycket mer än då också bara efter utan under mot
        över detta denna dessa alla något någon några varför min mitt din ditt sin sitt oss er dem blir blev vara
        varit mellan genom eftersom tack""",
    "ru": """и в не на что я с как это по но она он к у мы вы из за то все так его от о же для бы ты или если только
        ещё уже был была было были быть есть когда где кто чтобы почему очень может можно нужно мне меня нас вас их
        её при до без под этот эта эти того также который которая которые пожалуйста да нет""",
    "uk": """і в не на що я з як це по але вона він до у ми ви із за то все так його від та же для би ти або якщо тільки
        ще вже був була було були бути є коли де хто щоб чому дуже може можна треба мені мене нас вас їх її при без
        під цей ця ці того також який яка які будь ласка ні""",
    "da": """og i at det som en på er af for med den til ikke om et har de jeg han hun vi du var så men sig fra kan når
        man eller hvad nu der her hvor vil skal skulle havde meget mere end også kun efter uden under mod over dette
        denne disse alle noget nogen hvorfor hvordan min mit din dit sin sit os dem bliver blev være været mellem
        gennem fordi tak ble etter seg ikkje noe hva""",
    "fi": """ja on ei se että oli hän mutta ovat kun kuin myös joka niin tai mitä mikä minä sinä me te he tämä sen jos
        vain voi ole olla sitä hyvin kuka missä miksi miten kanssa jotka koska""",
    "cs": """a v je na se že to s z do o jako by ale za od pro po jsou tak jeho její které která který byl byla bylo
        jsem jsme jste není nebo když co kde proč jak může také ještě už jen aby při tím podle mezi sa som nie alebo
        ktorý""",
    "ro": """și în de la cu pe un o este sunt nu că a pentru din mai care ce să se au fost dar sau ca prin după fără
        foarte când unde cum această acest acestea lui ei lor""",
    "hu": """a az és hogy nem is egy van de meg ez azt ki volt mint csak már még ha vagy mert ezt el fel kell nagyon
        lehet ő én te mi ti ők miért hogyan ahol amikor""",
    "id": """yang dan di ke dari untuk dengan ini itu pada tidak adalah dalam akan atau juga saya anda kami mereka bisa
        dapat karena ada oleh sudah lebih seperti apa bagaimana tersebut telah""",
    "ca": """el la els les de que i en un una és per amb no es seu seva al del com més però ja o aquest aquesta aquests
        perquè quan molt sense sobre també fins hi on què jo tu nosaltres són pot ser té""",
    "bg": """и в не на се да за от е са по с като че ще го му си до но или която който които това този тази те той тя
        ние         вие как какво къде защо много може има""",
}

LETTERS = {
    "es": "ñ¿¡",
    "de": "ßäöü",
    "fr": "œèêçàûîôù",
    "it": "èàìòù",
    "pt": "ãõçâêôàú",
    "nl": "ĳ",
    "pl": "łąęśźżćń",
    "tr": "şğıçöü",
    "sv": "åäö",
    "ru": "ыэъё",
    "uk": "іїєґ",
    "da": "åøæ",
    "fi": "äö",
    "cs": "ěřůčšž",
    "ro": "șțăâî",
    "hu": "őűöü",
    "ca": "çàèò",
}

ENDINGS = {
    "en": "ing ght ess ful ion ers ity ent ely ted hed our".split(),
    "es": "ión dad ado ido ndo nes mos rán ían ito ona cia".split(),
    "de": "ung eit ich sch ten gen lich hen den nen ter tet".split(),
    "fr": "eux ait ais ent oir eur ons ées ées que ité ème".split(),
    "it": "zza tto nno one oni ato are ere ire ità gio cia tti".split(),
    "pt": "ção ões ade inho ado ndo mos ram ais eis cia".split(),
    "nl": "aan ijk eid ond ken den ten aar oek oor gen".split(),
    "pl": "ość ych nie nia iem ego ach emy cie cji ami".split(),
    "tr": "lar ler dır dir yor mak mek ın in lık lik dan den ara ere".split(),
    "sv": "het ade ing rna gen ten ken ter are för".split(),
}
"""The last letters of words, for texts too short to have many frequent words."""
