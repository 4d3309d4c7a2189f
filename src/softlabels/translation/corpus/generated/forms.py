"""German forms: conjugation, and the endings of articles, adjectives and nouns."""

from __future__ import annotations

from softlabels.translation.corpus.generated.words import GermanNoun, GermanVerb

CASES = ("nom", "acc", "dat")
IRREGULAR = {
    "sein": "bin bist ist sind seid sind",
    "haben": "habe hast hat haben habt haben",
    "werden": "werde wirst wird werden werdet werden",
    "wissen": "weiß weißt weiß wissen wisst wissen",
    "können": "kann kannst kann können könnt können",
    "müssen": "muss musst muss müssen müsst müssen",
    "wollen": "will willst will wollen wollt wollen",
    "möchten": "möchte möchtest möchte möchten möchtet möchten",
    "sollen": "soll sollst soll sollen sollt sollen",
    "dürfen": "darf darfst darf dürfen dürft dürfen",
    "war": "war warst war waren wart waren",
}
"""Infinitive (or preterite) → its forms of ich, du, er, wir, ihr, sie."""
PRONOUNS = {
    "nom": "ich du er wir ihr sie",
    "acc": "mich dich ihn uns euch sie",
    "dat": "mir dir ihm uns euch ihnen",
}
THIRD = {"nom": {"m": "er", "f": "sie", "n": "es"}, "acc": {"m": "ihn", "f": "sie", "n": "es"}}
THIRD["dat"] = {"m": "ihm", "f": "ihr", "n": "ihm"}
# rows: cases; columns: m, f, n, plural
_ARTICLE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem den"}
_DIES = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}
_EIN = {"nom": "- e - e", "acc": "en e - e", "dat": "em er em en"}
_WEAK = {"nom": "e e e en", "acc": "en e e en", "dat": "en en en en"}
_MIXED = {"nom": "er e es en", "acc": "en e es en", "dat": "en en en en"}
_STRONG = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}
_DIES_WORDS = {"this": "dies", "every": "jed"}
_EIN_WORDS = {"a": "ein", "no": "kein", "my": "mein", "his": "sein", "her": "ihr", "our": "unser", "their": "ihr"}
_COUNTS = {"two": "zwei", "three": "drei", "many": "viele", "some": "einige", "bare": ""}
CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
    ("bei", "dem"): "beim",
}


def conjugate(infinitive: str, person: int) -> str:
    """The present (or, of war, the preterite) of an irregular verb."""
    return IRREGULAR[infinitive].split()[person]


def present(verb: GermanVerb, person: int) -> str:
    """The present without a separable particle."""
    if (irregular := f"{verb.stem}en") in IRREGULAR:
        return conjugate(irregular, person)
    if person == 0:
        return f"{verb.stem}e"
    if person in (3, 5):
        return f"{verb.stem}en"
    stem = verb.stem if person == 4 else verb.changed
    # du arbeitest, er öffnet; but not where the vowel changes: er lädt
    hard = stem.endswith(("d", "t")) or (stem.endswith(("n", "m")) and stem[-2] not in "aeiouäöürlhnm")
    link = "e" if hard and stem == verb.stem else ""
    if person == 1:
        return f"{stem}t" if stem.endswith(("s", "ß", "z")) else f"{stem}{link}st"
    return f"{stem}{link}t"


def preterite(verb: GermanVerb, person: int) -> str:
    """The preterite of the first and third person, without a separable particle."""
    if person in (0, 2):
        return verb.past
    return f"{verb.past}n" if verb.past.endswith("e") else f"{verb.past}en"


def declined(noun: GermanNoun, plural: bool, case: str) -> str:
    if plural:
        # der Tisch, den Tischen
        return f"{noun.plural}n" if case == "dat" and not noun.plural.endswith(("n", "s")) else noun.plural
    return noun.plural if noun.weak and case != "nom" else noun.singular


def _ending(table: dict[str, str], case: str, gender: str, plural: bool) -> str:
    ending = table[case].split()[3 if plural else "mfn".index(gender)]
    return "" if ending == "-" else ending


def article(determiner: str, noun: GermanNoun, plural: bool, case: str) -> str:
    """The German word of an English determiner; nothing for a bare plural."""
    if determiner == "the":
        return _ending(_ARTICLE, case, noun.gender, plural)
    if stem := _DIES_WORDS.get(determiner):
        return stem + _ending(_DIES, case, noun.gender, plural)
    if stem := _EIN_WORDS.get(determiner):
        return stem + _ending(_EIN, case, noun.gender, plural)
    word = _COUNTS[determiner]
    return f"{word}n" if case == "dat" and word.endswith("e") else word


def adjective(stem: str, determiner: str, noun: GermanNoun, plural: bool, case: str) -> str:
    """An adjective before a noun: its ending shows what the article does not."""
    if determiner == "the" or determiner in _DIES_WORDS:
        table = _WEAK
    elif determiner in _EIN_WORDS:
        table = _MIXED
    else:
        table = _STRONG
    return stem + _ending(table, case, noun.gender, plural)


def relative_pronoun(noun: GermanNoun, plural: bool, case: str) -> str:
    return "denen" if plural and case == "dat" else _ending(_ARTICLE, case, noun.gender, plural)
