"""Is a description in English? By script, by function words, and by common words of other tongues.

Judges match English words, so words in another language would score as wrong ones. What stands
in quotes is an example and is left out: 'French text such as "les drapeaux"' is English. Knows
text only. No word of these lists is an English one.
"""

from __future__ import annotations

import re
import unicodedata

from semascope.explain.text import terms

_ENGLISH = frozenset(
    """a an the of in on at to for from by with and or is are that this it as not no which who
    when where what such like used any all both other various pictures picture images image text
    words word photo photos showing containing near above below beside between into over under
    one two three color colour people person objects object tokens token""".split()
)
_SHARED = frozenset("a an in on at for as no all to is it or".split())
"""English function words that other languages have too: they do not speak for English alone."""
_OTHER = {
    "German": """der das dem den des ein eine einer eines einem einen mit und oder auf von zu ist
    sind nicht bild bilder bildern über für aus bei wird werden zeigt zeigen rote
    roter rotes roten blaue blauer blaues gelbe gelber gelbes gelben grüne grüner
    grünes schwarze weiße weiß schwarz blau gelb grün fahne fahnen flagge flaggen
    katze katzen hund hunde vogel vögel baum bäume blume blumen haus häuser wasser
    himmel mensch menschen kinder gesicht gesichter buchstabe buchstaben wörter zahl
    zahlen schrift frucht früchte tier tiere personen schilder lebensmittel""",
    "French": """le la les du des un une et ou dans sur avec pour qui que est sont ne pas au aux
    ce cette ces rouge rouges bleu bleue bleus bleues vert verte verts vertes jaune
    jaunes noire noirs noires blanche blanches drapeau drapeaux chien chiens oiseau
    oiseaux arbre arbres fleurs maison maisons voiture voitures chatte visage
    visages homme femme hommes femmes enfant enfants ciel eau mer lettre lettres mot
    mots chiffre chiffres texte légumes animaux nourriture personne personnes
    nourritures chaise bateau bateaux montagne montagnes""",
    "Spanish": """siento lamento puedo ayudar ayudarte eso esto
    el los las del una unos unas y o con para por que es son en sobre rojo roja
    rojos rojas azules amarillo amarilla amarillos amarillas negro negra negros
    negras blanco blanca blancos blancas bandera banderas perro perros gato gatos
    pájaro pájaros árbol árboles flores flor coche coches cielo agua cara caras
    hombre mujer hombres mujeres letra letras palabra palabras números texto comida
    mesa silla imagen imágenes montaña animales""",
    "Italian": """il lo gli della delle dello dei degli di un uno una con che sono nel nella nelle
    sul sulla rosso rossa rossi rosse giallo gialla gialli gialle nera neri bianco
    bianca bianchi bianche bandiera bandiere gatti cane cani uccello uccelli albero
    alberi fiore fiori macchina macchine cielo acqua faccia volto volti uomo donna
    uomini donne bambini persone animali lettere parola parole numeri testo immagine
    immagini cibo""",
    "Portuguese": """desculpe posso ajudar isso isto
    os uma umas uns da das em com para por que são na nas nos pela pelo vermelho
    vermelha vermelhos vermelhas azuis amarelo amarela amarelos amarelas preto preta
    pretos branco branca brancos brancas bandeira bandeiras cachorro cachorros gatos
    gato pássaro árvore árvores carro carros céu água rosto rostos homem mulher
    pessoas homens mulheres crianças palavra palavras texto imagem imagens montanha""",
    "Dutch": """de het een van en of met voor niet zijn op aan bij uit deze dit rode gele groene
    zwarte witte blauwe zwart geel groen blauw vlag vlaggen kat katten hond honden
    vogel vogels boom bomen bloem bloemen huis huizen gezicht gezichten mensen
    kinderen woord woorden tekst afbeelding afbeeldingen getallen""",
    "Nordic": """och eller att är inte med på av ett som til og ikke er det en et den röd röda
    rød røde gul gula gule grön gröna grøn svart svarta vit vita hvit hvid flagga
    flaggor flagg katt katter hund hunder fågel fåglar fugl träd blommor blomster
    hus ansikte bilder bilde billede billeder människor mennesker ord""",
    "Polish": """w na z do jest są nie lub oraz dla czerwona czerwony czerwone czarny czarna
    biały biała żółty żółta zielony flaga flagi kot koty psy ptak drzewo drzewa
    kwiat kwiaty dom twarz ludzie obraz obrazy słowo słowa tekst""",
    "Czech": """je jsou není nebo červená červený vlajka kočka pes strom stromy obrázek slova""",
    "Turkish": """ve ile bir bu olan kırmızı sarı yeşil mavi siyah beyaz bayrak bayraklar kedi
    köpek kuş ağaç çiçek insanlar kelime kelimeler resim resimler""",
    "Indonesian": """yang dan dari dengan untuk ini itu di pada adalah merah kuning hijau biru
    hitam putih bendera kucing anjing burung pohon bunga rumah orang wajah kata gambar
    teks""",
    "Romanian": """și cu pe din este sunt roșu roșie steag steaguri pisică câine copac imagine""",
    "Hungarian": """és az egy nem vagy piros zászló zászlók kutya macska fa virág kép
    képek szöveg""",
    "Finnish": """ja on ei tai joka punainen punaiset lippu liput koira kissa kuva kuvat puu
    teksti""",
    "Vietnamese": """và của là các một những trong màu đỏ lá cờ con mèo chó chữ hình ảnh""",
}
_HOMONYMS = frozenset(
    """de la el le en con on an me do no as so hus fa psy pes er ja det kata dan ne ce mer la para
    di que lo kat dom van un los las les der das del maison são mot z w y o den et des au pas sur
    son chat sol par il da bunga una mit met est pour chaise mesa cane boom op med av din rote
    tier tiere dem cara com nas ini jest rode ces uma sono auto die cu ve bir lub es aus""".split()
)
_FOREIGN = frozenset(w for listed in _OTHER.values() for w in listed.split()) - _ENGLISH - _HOMONYMS
"""Words that alone speak for another language; what English has too, or names have, is left out."""
_WEAK = frozenset(
    """de la el le en et den des au una que para il da di y o z w van un los las les der das del
    maison são mot mit met est pour dem es rote rode die com""".split()
)
"""Words of other languages that stand in English names: they count beside others only."""
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|‘[^’]*’|«[^»]*»|(?<!\w)'[^']*'(?!\w)")


def is_english(text: str) -> bool:
    """Whether a description or label reads as English; what cannot be told counts as English."""
    told = _QUOTED.sub(" ", text)
    spoken = [told[a:b].lower() for a, b in terms.spans(told)]
    # A loanword may have more accents than that; a sentence does not.
    home = str.isascii if len(spoken) > 2 else _latin
    letters = [c for c in told if c.isalpha()]
    if sum(map(home, letters)) < 0.8 * len(letters):
        return False
    english = sum(word in _ENGLISH and word not in _SHARED for word in spoken)
    foreign = sum(word in _FOREIGN for word in spoken)
    weak = sum(word in _WEAK for word in spoken)
    if foreign and foreign + weak > english:
        return False
    if weak >= 3 and weak > english + sum(word in _SHARED for word in spoken):
        return False
    return not (len(spoken) >= 6 and not _ENGLISH & set(spoken))


def is_foreign(text: str) -> bool:
    """Whether a text is in another language for certain; code, names and scraps are not.

    What is known of English words ("war" is a word of war, "die" one of death) is wrong there.
    """
    letters = [c for c in text if c.isalpha()]
    if letters and sum(map(_latin, letters)) < 0.5 * len(letters):
        return True
    spoken = [text[a:b].lower() for a, b in terms.spans(text)]
    foreign = sum(word in _FOREIGN for word in spoken)
    weak = sum(word in _WEAK for word in spoken)
    english = sum(word in _ENGLISH and word not in _SHARED for word in spoken)
    return foreign > 0 and foreign + weak >= 2 and foreign + weak > english


def _latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")
