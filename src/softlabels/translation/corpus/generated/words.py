"""What is known of a word of the generated corpus, and how rows of the lexicon are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GermanNoun:
    singular: str
    gender: str  # m, f, n
    plural: str
    weak: bool
    """Ends like the plural in the singular too, except in the nominative: der junge, den jungen."""


@dataclass(frozen=True)
class Noun:
    singular: str
    plural: str
    pronoun: str  # he, she, it
    classes: frozenset[str]
    german: tuple[GermanNoun, ...]


@dataclass(frozen=True)
class GermanVerb:
    stem: str
    changed: str
    """Stem of du and er: seh-, sieh-."""
    past: str
    """First person of the preterite."""
    participle: str
    particle: str
    """Separable first part: an in anrufen; or nothing."""
    auxiliary: str  # haben, sein

    @property
    def infinitive(self) -> str:
        return f"{self.particle}{self.stem}en"


@dataclass(frozen=True)
class Verb:
    base: str
    third: str
    past: str
    participle: str
    tail: str
    """What English adds before the object: for in `look for`; or nothing."""
    kind: str
    """Objects: none, acc, dat, both, or a German preposition with its case: auf+acc."""
    subjects: frozenset[str]
    objects: frozenset[str]
    german: tuple[GermanVerb, ...]


@dataclass(frozen=True)
class GermanAdjective:
    predicate: str
    stem: str


@dataclass(frozen=True)
class Adjective:
    word: str
    classes: frozenset[str]
    german: tuple[GermanAdjective, ...]


@dataclass(frozen=True)
class Adverb:
    english: str
    german: tuple[str, ...]
    tenses: frozenset[str]


def _forms(words: list[str]) -> tuple[str, str, str, str]:
    """Four forms of an English verb, of which a regular one gives only the first."""
    if len(words) == 4:
        return words[0], words[1], words[2], words[3]
    (base,) = words
    if base.endswith("y") and base[-2] not in "aeiou":
        return base, f"{base[:-1]}ies", f"{base[:-1]}ied", f"{base[:-1]}ied"
    past = f"{base}d" if base.endswith("e") else f"{base}ed"
    return base, f"{base}es" if base.endswith(("s", "sh", "ch")) else f"{base}s", past, past


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _choices(cell: str) -> list[list[str]]:
    return [choice.split() for choice in cell.split("/")]


def noun(english: str, pronoun: str, classes: str, german: str) -> Noun:
    singular, plural = english.split()
    choices = tuple(GermanNoun(words[0], words[1], words[2], "weak" in words[3:]) for words in _choices(german))
    return Noun(singular, plural, pronoun, frozenset(classes.split()), choices)


def verb(english: str, kind: str, subjects: str, objects: str, german: str) -> Verb:
    forms, _, tail = english.partition("+")
    choices = []
    for stem, past, participle, *auxiliary in _choices(german):
        particle, _, rest = stem.rpartition("-")
        base, _, changed = rest.partition(">")
        choices.append(GermanVerb(base, changed or base, past, participle, particle, (auxiliary or ["haben"])[0]))
    classes = frozenset(subjects.split()), frozenset(objects.split())
    return Verb(*_forms(forms.split()), tail.strip(), kind, *classes, tuple(choices))


def adjective(word: str, classes: str, german: str) -> Adjective:
    choices = []
    for (form,) in _choices(german):
        predicate, _, stem = form.partition(">")
        choices.append(GermanAdjective(predicate, stem or predicate))
    return Adjective(word, frozenset(classes.split()), tuple(choices))


def adverb(english: str, german: str, tenses: str) -> Adverb:
    return Adverb(english, tuple(choice.strip() for choice in german.split("/")), frozenset(tenses.split()))
