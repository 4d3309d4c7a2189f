"""English sentences: subject before verb, do in questions and negations."""

from __future__ import annotations

from softlabels.translation.corpus.generated.meaning import Clause, Phrase, Prepositional, Sentence

_SUBJECTS = ("i", "you", "he", "we", "you", "they")
_OBJECTS = ("me", "you", "him", "us", "you", "them")
_THIRD_OBJECT = {"he": "him", "she": "her", "it": "it"}
_BE = ("am", "are", "is", "are", "are", "are")
_CONSONANT_SOUND = ("honest",)  # the other way round: an honest man
_DETERMINERS = {"bare": ""}


def say(sentence: Sentence) -> list[str]:
    """The tokens of a sentence."""
    main, second = sentence.main, sentence.second
    if sentence.form == "who":
        return [*_statement(main), "?"]
    if sentence.form != "statement":
        opener = [] if sentence.form == "question" else [sentence.form]
        return [*opener, *_question(main), "?"]
    if second is None:
        return [*_statement(main), "."]
    subordinate = [sentence.english_link, *_statement(second)]
    if sentence.second_first:
        return [*subordinate, ",", *_statement(main), "."]
    return [*_statement(main), *subordinate, "."]


def _statement(clause: Clause) -> list[str]:
    auxiliary, main = _verbs(clause)
    subject = [] if clause.gap == "subject" else _phrase(clause.subject, subject=True)
    words = [*subject, *_between(clause, auxiliary, main), *_after(clause)]
    if clause.time is None:
        return words
    time = clause.time.adverb.english.split()
    return [*time, *words] if clause.english_front else [*words, *time]


def _question(clause: Clause) -> list[str]:
    auxiliary, main = _verbs(clause, support=True)
    time = [] if clause.time is None else clause.time.adverb.english.split()
    frequency = [] if clause.frequency is None else [clause.frequency.adverb.english]
    negation = ["not"] if clause.negated else []
    subject = _phrase(clause.subject, subject=True)
    return [auxiliary, *subject, *negation, *frequency, *main, *_after(clause), *time]


def _between(clause: Clause, auxiliary: str, main: list[str]) -> list[str]:
    """The verbs of a statement with what stands among them: has not seen, often sees."""
    words = [auxiliary] if auxiliary else []
    if clause.negated:
        words = ["cannot"] if auxiliary == "can" else [*words, "not"]
    if clause.frequency is not None:
        words.append(clause.frequency.adverb.english)
    return [*words, *main]


def _verbs(clause: Clause, support: bool = False) -> tuple[str, list[str]]:
    """The auxiliary (perhaps none, unless `support`) and what follows it."""
    person, verb, tense = clause.subject.person, clause.verb, clause.tense
    third = person == 2
    base = "be" if verb is None else verb.base
    if clause.modal is not None and clause.modal.english != "want":
        return clause.modal.english, [base]
    if tense == "future":
        return "will", [base]
    if tense == "perfect":
        return ("has" if third else "have"), ["been" if verb is None else verb.participle]
    if verb is None and clause.modal is None:
        past = "was" if person in (0, 2) else "were"
        return (past if tense == "past" else _BE[person]), []
    infinitive, forms = [base], ("", "", "")
    if clause.modal is not None:
        infinitive, forms = ["want", "to", base], ("want", "wants", "wanted")
    elif verb is not None:
        forms = (verb.base, verb.third, verb.past)
    if support or clause.negated:
        return ("did" if tense == "past" else "does" if third else "do"), infinitive
    finite = forms[2] if tense == "past" else forms[1] if third else forms[0]
    return "", [finite, *infinitive[1:]]


def _after(clause: Clause) -> list[str]:
    """Objects, prepositions and predicate."""
    direct = [] if clause.direct is None or clause.gap == "direct" else _phrase(clause.direct)
    receiver = [] if clause.receiver is None else _phrase(clause.receiver)
    tail = [clause.verb.tail] if clause.verb is not None and clause.verb.tail else []
    words = [*tail, *receiver, *direct]
    if clause.receiver is not None and clause.receiver_last:
        words = [*tail, *direct, "to", *receiver]
    for place in clause.places:
        words += _prepositional(place)
    if clause.predicate is not None:
        words.append(clause.predicate.english)
    return words


def _phrase(phrase: Phrase, subject: bool = False) -> list[str]:
    if phrase.determiner == "who":
        return ["who"]
    if phrase.pronoun:
        if phrase.person == 2:
            assert phrase.noun is not None
            return [phrase.noun.pronoun if subject else _THIRD_OBJECT[phrase.noun.pronoun]]
        return [(_SUBJECTS if subject else _OBJECTS)[phrase.person]]
    assert phrase.noun is not None
    words = [] if phrase.quality is None else [phrase.quality.english]
    words.append(phrase.noun.plural if phrase.plural else phrase.noun.singular)
    determiner = _DETERMINERS.get(phrase.determiner, phrase.determiner)
    if determiner == "a":
        determiner = "an" if words[0][0] in "aeiou" or words[0] in _CONSONANT_SOUND else "a"
    elif determiner == "this" and phrase.plural:
        determiner = "these"
    words = [determiner, *words] if determiner else words
    return words if phrase.relative is None else [*words, *_relative(phrase)]


def _relative(phrase: Phrase) -> list[str]:
    clause = phrase.relative
    assert clause is not None
    assert phrase.noun is not None
    person = "person" in phrase.noun.classes
    pronoun = ("who" if clause.gap == "subject" else "whom") if person else "that"
    return [pronoun, *_statement(clause)]


def _prepositional(place: Prepositional) -> list[str]:
    return [*place.english.split(), *_phrase(place.phrase)]
