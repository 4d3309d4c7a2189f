"""What a sentence says, with every choice made: both languages are functions of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from softlabels.translation.corpus.generated.words import Adverb, GermanAdjective, GermanNoun, GermanVerb, Noun, Verb

Tense = Literal["present", "past", "perfect", "future"]


@dataclass(frozen=True)
class Quality:
    """An adjective in both languages."""

    english: str
    german: GermanAdjective


@dataclass(frozen=True)
class Phrase:
    """Somebody or something: a noun with its article, or a pronoun (`determiner` is empty)."""

    person: int
    """0–5: I, you, he, we, you, they."""
    determiner: str = ""
    noun: Noun | None = None
    german: GermanNoun | None = None
    quality: Quality | None = None
    relative: Clause | None = None

    @property
    def plural(self) -> bool:
        return self.person > 2

    @property
    def pronoun(self) -> bool:
        return not self.determiner

    @property
    def indefinite(self) -> bool:
        """German negates it by kein."""
        return self.determiner in ("a", "bare")


@dataclass(frozen=True)
class Prepositional:
    """A preposition in both languages, the case that the German one has here, and what it governs."""

    english: str
    german: str
    case: str
    phrase: Phrase


@dataclass(frozen=True)
class Modal:
    english: str
    german: str


@dataclass(frozen=True)
class When:
    """An adverb of time or frequency, the German choice made."""

    adverb: Adverb
    german: str


@dataclass(frozen=True)
class Clause:
    """One subject and one verb; `verb` None: to be, with `predicate`."""

    subject: Phrase
    verb: Verb | None = None
    german: GermanVerb | None = None
    tense: Tense = "present"
    modal: Modal | None = None
    negated: bool = False
    direct: Phrase | None = None
    receiver: Phrase | None = None
    places: tuple[Prepositional, ...] = ()
    """Prepositional objects and adverbials, in the order of both languages."""
    predicate: Quality | None = None
    frequency: When | None = None
    time: When | None = None
    english_front: bool = False
    """Whether time opens the sentence."""
    german_front: bool = False
    preterite: bool = False
    """German tells the past by the preterite, not by the perfect."""
    present_future: bool = False
    """German tells the future by the present."""
    late_time: bool = False
    """German time stands after the object."""
    receiver_last: bool = False
    """English gives something to somebody, not somebody something."""
    gap: Literal["", "subject", "direct"] = ""
    """In a relative clause: what its pronoun stands for."""


@dataclass(frozen=True)
class Sentence:
    """A main clause, perhaps a question, perhaps with a subordinate clause."""

    main: Clause
    form: Literal["statement", "question", "why", "when", "where", "who"] = "statement"
    english_link: str = ""
    """because, that, …: what ties the second clause."""
    german_link: str = ""
    second: Clause | None = None
    second_first: bool = False
    """The subordinate clause opens the sentence."""
