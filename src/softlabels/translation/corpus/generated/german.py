"""German sentences: verb second, verb first in questions, verb last in subordinate clauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from softlabels.translation.corpus.generated.forms import (
    CONTRACTIONS,
    PRONOUNS,
    THIRD,
    adjective,
    article,
    conjugate,
    declined,
    present,
    preterite,
    relative_pronoun,
)
from softlabels.translation.corpus.generated.meaning import Clause, Phrase, Prepositional, Sentence

Order = Literal["second", "first", "last"]


@dataclass(frozen=True)
class _Verbs:
    finite: str
    particle: str
    """Separable: ruft … an."""
    rest: str
    """Participle or infinitive."""


def say(sentence: Sentence) -> list[str]:
    """The tokens of a sentence."""
    main, second = sentence.main, sentence.second
    if sentence.form != "statement":
        openers = {"why": ["warum"], "when": ["wann"], "where": ["wo"]}
        opener = openers.get(sentence.form)
        order: Order = "second" if sentence.form == "who" or opener else "first"
        return [*_clause(main, order, opener), "?"]
    if second is None:
        return [*_clause(main, "second"), "."]
    if sentence.german_link == "denn":
        return [*_clause(main, "second"), ",", "denn", *_clause(second, "second"), "."]
    subordinate = [sentence.german_link, *_clause(second, "last")]
    if sentence.second_first:
        # the subordinate clause is the first place, so the verb follows at once
        return [*subordinate, ",", *_clause(main, "second", []), "."]
    return [*_clause(main, "second"), ",", *subordinate, "."]


def _clause(clause: Clause, order: Order, opener: list[str] | None = None) -> list[str]:
    """A clause; `opener` takes the place before the verb (empty: it is taken by what came before)."""
    verbs = _verbs(clause)
    subject = [] if clause.gap == "subject" else _phrase(clause.subject, "nom")
    fronted = clause.german_front and opener is None and order == "second" and clause.time is not None
    if fronted:
        assert clause.time is not None
        opener = clause.time.german.split()
    middle = _middle(clause, time_stands_before=fronted)
    late = _late_relative(clause)
    if order == "last":
        tail = [verbs.rest] if verbs.rest else []
        return [*subject, *middle, *tail, f"{verbs.particle}{verbs.finite}", *late]
    tail = [word for word in (verbs.rest, verbs.particle) if word]
    if order == "first":
        return [verbs.finite, *subject, *middle, *tail, *late]
    if opener is None:
        return [*subject, verbs.finite, *middle, *tail, *late]
    return [*opener, verbs.finite, *subject, *middle, *tail, *late]


def _verbs(clause: Clause) -> _Verbs:
    person, verb = clause.subject.person, clause.german
    infinitive = "sein" if verb is None else verb.infinitive
    if clause.modal:
        return _Verbs(conjugate(clause.modal.german, person), "", infinitive)
    if clause.tense == "future" and not clause.present_future:
        return _Verbs(conjugate("werden", person), "", infinitive)
    if verb is None:
        if clause.tense == "perfect":
            return _Verbs(conjugate("sein", person), "", "gewesen")
        return _Verbs(conjugate("war" if clause.tense == "past" else "sein", person), "", "")
    if clause.tense == "past" and clause.preterite:
        return _Verbs(preterite(verb, person), verb.particle, "")
    if clause.tense in ("past", "perfect"):
        return _Verbs(conjugate(verb.auxiliary, person), "", verb.participle)
    return _Verbs(present(verb, person), verb.particle, "")


def _middle(clause: Clause, time_stands_before: bool) -> list[str]:
    """What stands between the two parts of the verb: pronouns, time, objects, nicht, prepositions, predicate."""
    direct = None if clause.gap == "direct" else clause.direct
    case = "dat" if clause.verb is not None and clause.verb.kind == "dat" else "acc"
    none = clause.negated and direct is not None and direct.indefinite
    pronouns: list[str] = []
    objects: list[str] = []
    for phrase, its_case in ((clause.receiver, "dat"), (direct, case)):
        if phrase is not None:
            (pronouns if phrase.pronoun else objects).extend(_phrase(phrase, its_case, none and phrase is direct))
    time = [] if clause.time is None or time_stands_before else clause.time.german.split()
    if clause.frequency is not None:
        time = [*time, clause.frequency.german]
    words = [*pronouns, *objects, *time] if clause.late_time else [*pronouns, *time, *objects]
    if clause.negated and not none:
        words.append("nicht")
    for place in clause.places:
        words += _prepositional(place)
    if clause.predicate is not None:
        words.append(clause.predicate.german.predicate)
    return words


def _late_relative(clause: Clause) -> list[str]:
    """The relative clause of an object, after the end of the verb."""
    if clause.direct is None or clause.direct.relative is None or clause.gap == "direct":
        return []
    return _relative(clause.direct)[:-1]  # the sentence ends where the second comma would stand


def _phrase(phrase: Phrase, case: str, none: bool = False) -> list[str]:
    if phrase.noun is None and phrase.determiner == "who":
        return ["wer"]
    if phrase.pronoun:
        if phrase.person == 2:
            assert phrase.german is not None
            return [THIRD[case][phrase.german.gender]]
        return [PRONOUNS[case].split()[phrase.person]]
    assert phrase.german is not None
    determiner = "no" if none else phrase.determiner
    words = [article(determiner, phrase.german, phrase.plural, case)]
    if phrase.quality is not None:
        words.append(adjective(phrase.quality.german.stem, determiner, phrase.german, phrase.plural, case))
    words.append(declined(phrase.german, phrase.plural, case))
    if phrase.relative is not None and case == "nom":
        words += _relative(phrase)
    return [word for word in words if word]


def _relative(phrase: Phrase) -> list[str]:
    """A relative clause between commas; its pronoun agrees with the noun and has the case of the gap."""
    clause = phrase.relative
    assert clause is not None
    assert phrase.german is not None
    case = "nom"
    if clause.gap == "direct":
        case = "dat" if clause.verb is not None and clause.verb.kind == "dat" else "acc"
    return [",", relative_pronoun(phrase.german, phrase.plural, case), *_clause(clause, "last"), ","]


def _prepositional(place: Prepositional) -> list[str]:
    words = _phrase(place.phrase, place.case)
    contracted = CONTRACTIONS.get((place.german, words[0])) if place.phrase.determiner == "the" else None
    return [contracted, *words[1:]] if contracted else [place.german, *words]
