"""What is said, drawn at random: who does what to whom, where and when, and how German words it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from softlabels.translation.corpus.generated.dice import Dice
from softlabels.translation.corpus.generated.lexicon import ADJECTIVES, FREQUENCIES, NOUNS, TIMES, VERBS
from softlabels.translation.corpus.generated.meaning import (
    Clause,
    Modal,
    Phrase,
    Prepositional,
    Quality,
    Sentence,
    Tense,
    When,
)
from softlabels.translation.corpus.generated.words import Adverb, Verb

Classes = frozenset[str]
PERSON, PLACE, FURNITURE = frozenset({"person"}), frozenset({"place"}), frozenset({"furniture"})
ALIVE = PERSON | {"animal"}
# (value, weight)
_TENSES: list[tuple[Tense, int]] = [("present", 10), ("past", 7), ("perfect", 2), ("future", 2)]
_SINGULAR = [("the", 22), ("a", 14), ("this", 4), ("every", 2), ("no", 1)]
_PLURAL = [("the", 12), ("bare", 4), ("two", 3), ("three", 2), ("many", 3), ("some", 3), ("this", 3)]
_OWNERS = [("my", 3), ("his", 2), ("her", 2), ("our", 2), ("their", 1)]
_SPEAKERS = [(0, 4), (1, 3), (2, 4), (3, 3), (4, 1), (5, 2)]
_MODALS = [("can", "können"), ("must", "müssen"), ("should", "sollen"), ("want", "wollen"), ("want", "möchten")]
_INSIDE = [("in", "in"), ("in", "in"), ("in", "in"), ("behind", "hinter"), ("in front of", "vor"), ("near", "bei")]
_AT = [("on", "auf"), ("under", "unter"), ("behind", "hinter"), ("next to", "neben")]
_LINKS = [
    ("because", ("weil", "denn"), 5),
    ("although", ("obwohl",), 3),
    ("if", ("wenn", "falls"), 3),
    ("when", ("wenn",), 3),
    ("while", ("während",), 2),
]
_QUESTIONS = [("question", 6), ("why", 2), ("when", 1), ("where", 1), ("who", 2)]


class Draw:
    """A stream of sentences, a pure function of its seed."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.people = [noun for noun in NOUNS if noun.singular in ("man", "woman")]

    def sentence(self) -> Sentence:
        frames: list[tuple[Callable[[], Sentence], int]] = [
            (self._plain, 9),
            (self._asked, 4),
            (self._linked, 4),
            (self._reported, 2),
            (self._related, 3),
        ]
        return self.dice.weighted(frames)()

    def _plain(self) -> Sentence:
        return Sentence(self._clause())

    def _asked(self) -> Sentence:
        form = self.dice.weighted(_QUESTIONS)
        clause = self._unfronted(self._clause())
        if form == "who":
            clause = dataclasses.replace(self._clause(subjects=PERSON), subject=Phrase(2, "who"))
            return Sentence(self._unfronted(clause), "who")
        if form == "when":
            clause = dataclasses.replace(clause, time=None)
        if form == "where":
            clause = self._unfronted(self._clause(kinds=("acc", "dat", "none"), placed=False))
        return Sentence(clause, form)  # type: ignore[arg-type]

    def _linked(self) -> Sentence:
        english, choices, _ = self.dice.weighted([(link, link[2]) for link in _LINKS])
        main = self._clause(brief=True)
        if english == "if" and main.tense in ("past", "perfect"):
            english, choices = "because", ("weil", "denn")
        second = self._second(main)
        german = self.dice.first(choices)
        if english == "when" and second.tense == "past":
            german = "als"
        first = self.dice.chance(30)
        if german == "denn":  # a main clause, which cannot come first
            return Sentence(main, "statement", english, german, second)
        return Sentence(main, "statement", english, german, self._unfronted(second), first)

    def _reported(self) -> Sentence:
        main = self._clause(kinds=("that",), brief=True)
        return Sentence(main, "statement", "that", "dass", self._unfronted(self._second(main)))

    def _related(self) -> Sentence:
        """The subject or the object of a clause with a relative clause."""
        if self.dice.chance(60):
            clause = self._clause(subjects=ALIVE, brief=True, named=True)
            clause = dataclasses.replace(clause, subject=self._with_relative(clause.subject, clause.tense))
            return Sentence(self._unfronted(clause))
        clause = self._clause(kinds=("acc",), placed=False, brief=True, named=True)
        assert clause.verb is not None
        assert clause.direct is not None
        direct = self._phrase(clause.verb.objects) if clause.direct.pronoun else clause.direct
        direct = self._with_relative(direct, clause.tense)
        return Sentence(dataclasses.replace(clause, direct=direct, time=None, negated=False, late_time=False))

    @staticmethod
    def _unfronted(clause: Clause) -> Clause:
        """A clause whose time does not come first: a question, or a subordinate one."""
        return dataclasses.replace(clause, english_front=False, german_front=False)

    def _with_relative(self, phrase: Phrase, tense: Tense) -> Phrase:
        assert phrase.noun is not None
        classes = phrase.noun.classes
        same = Phrase(phrase.person, "", phrase.noun, phrase.german)
        kinds = ("acc", "dat")
        if self.dice.chance(60) and classes & ALIVE:
            clause = self._clause(subject=same, kinds=(*kinds, "none", "be"), tense=tense, brief=True)
            clause = dataclasses.replace(clause, gap="subject", modal=None)
        else:
            verbs = [v for v in VERBS if v.kind in kinds and v.objects & classes and v.subjects & PERSON]
            if not verbs:
                return phrase
            clause = self._clause(subjects=PERSON, verb=self.dice.one(verbs), tense=tense, brief=True, placed=False)
            clause = dataclasses.replace(clause, direct=same, gap="direct", modal=None, negated=False)
        clause = self._unfronted(dataclasses.replace(clause, time=None))
        if phrase.determiner in ("no", "every"):
            phrase = dataclasses.replace(phrase, determiner="the")
        return dataclasses.replace(phrase, relative=clause)

    def _second(self, main: Clause) -> Clause:
        """A further clause, often about the same subject, in a tense that goes with the first."""
        tense: Tense = "past" if main.tense in ("past", "perfect") else "present"
        subject = main.subject
        if subject.determiner in ("every", "no") or self.dice.chance(45):
            return self._clause(tense=tense, brief=True)
        same = Phrase(subject.person, "", subject.noun, subject.german)
        return self._clause(subject=same, tense=tense, brief=True)

    def _clause(
        self,
        *,
        subject: Phrase | None = None,
        subjects: Classes | None = None,
        verb: Verb | None = None,
        kinds: tuple[str, ...] | None = None,
        tense: Tense | None = None,
        brief: bool = False,
        placed: bool = True,
        named: bool = False,
    ) -> Clause:
        """A clause. `brief`: without time; `placed`: perhaps with a place; `named`: no pronoun as subject."""
        able = subjects
        if subject is not None:
            able = PERSON if subject.noun is None else subject.noun.classes
        copula = verb is None and (self.dice.chance(14) if kinds is None else "be" in kinds and self.dice.chance(30))
        if not copula and verb is None:
            verb = self.dice.one(
                [
                    verb
                    for verb in VERBS
                    if (verb.kind in kinds if kinds else verb.kind != "that") and (able is None or verb.subjects & able)
                ]
            )
        if subject is None:
            of = (verb.subjects if verb is not None else ALIVE | {"thing"}) if able is None else able
            subject = self._subject(of if verb is None else of & verb.subjects, named)
        when: Tense = self.dice.weighted(_TENSES) if tense is None else tense
        modal = Modal(*self.dice.one(_MODALS)) if when == "present" and self.dice.chance(20) and not copula else None
        negated = self.dice.chance(15) and subject.determiner not in ("no", "every", "some", "many")
        if modal is not None and negated and modal.english == "must":
            modal = Modal("must", "dürfen")  # must not: darf nicht
        clause = Clause(subject, verb, tense=when, modal=modal, negated=negated)
        if verb is None:
            clause = dataclasses.replace(clause, predicate=self._predicate(subject), german=None)
        else:
            clause = self._objects(clause, verb, placed)
        clause = self._wording(clause)
        return clause if brief and not self.dice.chance(12) else self._timed(clause)

    def _subject(self, classes: Classes, named: bool) -> Phrase:
        if "person" in classes and not named and self.dice.chance(30):
            return self._pronoun(self.dice.weighted(_SPEAKERS))
        return self._phrase(classes)

    def _pronoun(self, person: int) -> Phrase:
        if person != 2:
            return Phrase(person)
        noun = self.dice.one(self.people)
        return Phrase(2, "", noun, noun.german[0])

    def _phrase(self, classes: Classes, negated: bool = False) -> Phrase:
        noun = self.dice.one([noun for noun in NOUNS if noun.classes & classes])
        plural = self.dice.chance(28)
        owned = not noun.classes & PLACE and self.dice.chance(18)
        determiner = self.dice.weighted(_OWNERS if owned else _PLURAL if plural else _SINGULAR)
        if negated and determiner in ("every", "no", "many", "some"):
            determiner = "the"
        quality = None
        if self.dice.chance(28) and (fitting := [word for word in ADJECTIVES if word.classes & noun.classes]):
            adjective = self.dice.one(fitting)
            quality = Quality(adjective.word, self.dice.first(adjective.german))
        return Phrase(5 if plural else 2, determiner, noun, self.dice.first(noun.german), quality)

    def _predicate(self, subject: Phrase) -> Quality:
        classes = PERSON if subject.noun is None else subject.noun.classes
        adjective = self.dice.one([word for word in ADJECTIVES if word.classes & classes])
        return Quality(adjective.word, self.dice.first(adjective.german))

    def _objects(self, clause: Clause, verb: Verb, placed: bool) -> Clause:
        """The objects and prepositions that the verb asks for, or allows."""
        places: list[Prepositional] = []
        direct = receiver = None
        kind, negated = verb.kind, clause.negated
        if kind in ("acc", "dat", "both", "put"):
            direct = self._object(clause, verb.objects)
        if kind == "both":
            receiver = self._object(clause, PERSON)
            if direct is not None and direct.pronoun:
                direct = self._phrase(verb.objects, negated)
        if "+" in kind:
            german, _, case = kind.partition("+")
            places.append(Prepositional("", german, case, self._object(clause, verb.objects)))
        elif kind == "motion":
            english, german, case = self.dice.weighted(
                [
                    (("to", "in", "acc"), 4),
                    (("to", "zu", "dat"), 2),
                    (("into", "in", "acc"), 1),
                    (("out of", "aus", "dat"), 1),
                ]
            )
            places.append(Prepositional(english, german, case, self._phrase(PLACE, negated)))
        elif kind in ("rest", "put"):
            places.append(
                Prepositional(*self.dice.one(_AT), "acc" if kind == "put" else "dat", self._phrase(FURNITURE))
            )
        elif kind == "place" or (placed and kind in ("none", "acc") and self.dice.chance(32 if kind == "none" else 14)):
            places.append(Prepositional(*self.dice.one(_INSIDE), "dat", self._phrase(PLACE, negated)))
        elif placed and kind in ("none", "acc", "motion") and clause.subject.person != 3 and self.dice.chance(14):
            options = [("with", "mit", "dat"), ("without", "ohne", "acc"), ("for", "für", "acc")]
            places.append(Prepositional(*self.dice.one(options), self._phrase(PERSON, negated)))
        return dataclasses.replace(
            clause, german=self.dice.first(verb.german), direct=direct, receiver=receiver, places=tuple(places)
        )

    def _object(self, clause: Clause, classes: Classes) -> Phrase:
        """An object; a pronoun at times, but not that of the subject."""
        if "person" in classes and self.dice.chance(22):
            person = self.dice.weighted(_SPEAKERS)
            # I and we, you and you are too close to stand for two
            if clause.subject.determiner or person % 3 != clause.subject.person % 3:
                return self._pronoun(person)
        return self._phrase(classes, clause.negated)

    def _wording(self, clause: Clause) -> Clause:
        """The free choices of both languages that time has no part in."""
        frequency = self._adverb(FREQUENCIES, clause) if not clause.negated and self.dice.chance(9) else None
        third = clause.subject.person in (0, 2, 5)
        return dataclasses.replace(
            clause,
            frequency=frequency,
            preterite=third and self.dice.chance(30),
            receiver_last=clause.receiver is not None and self.dice.chance(35),
        )

    def _timed(self, clause: Clause) -> Clause:
        time = self._adverb(TIMES, clause) if self.dice.chance(45) else None
        if time is None:
            return clause
        front = self.dice.chance(40)
        definite = clause.direct is not None and not clause.direct.indefinite
        return dataclasses.replace(
            clause,
            time=time,
            english_front=front,
            german_front=self.dice.chance(85) if front else self.dice.chance(25),
            late_time=definite and self.dice.chance(25),
            present_future=clause.tense == "future" and self.dice.chance(35),
        )

    def _adverb(self, adverbs: list[Adverb], clause: Clause) -> When | None:
        if clause.modal is not None:
            return None
        fitting = [adverb for adverb in adverbs if clause.tense in adverb.tenses]
        if not fitting:
            return None
        adverb = self.dice.one(fitting)
        return When(adverb, self.dice.first(adverb.german))
