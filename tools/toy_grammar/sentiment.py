"""Sentences that like something, dislike it, or do neither."""

from random import Random

from toy_grammar.abstract import Sentence
from toy_grammar.draw import Draw
from toy_grammar.labelled import LabelledText, check_request
from toy_grammar.realise import realise
from toy_grammar.registry import is_varied
from toy_grammar.verdicts import NEITHER, VERDICTS

POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"

SHARES = {
    "en": {NEGATIVE: 0.28, NEUTRAL: 0.405, POSITIVE: 0.315},
    "da": {NEGATIVE: 0.37, NEUTRAL: 0.35, POSITIVE: 0.28},
}
"""How much of a set has which label: as in Tweet Sentiment Extraction, and as in angry-tweets."""


def sentiment(number: int, seed: int, language: str) -> list[LabelledText]:
    """Sentences with the labels `positive`, `neutral` and `negative`, as they speak of a film, a hotel, a cake ...

    No word decides alone: good words are negated and so are bad ones, *too* makes a plain word a bad one, and who only
    asks whether a film is good says nothing of it. Negations and adverbs of degree stand with every label.

    Args:
        number: how many rows, 0 to `MAX_LABELLED`.
        seed: same seed, same rows; a smaller number gives the first ones of a larger.
        language: a language code.

    Returns:
        Rows whose `kind` names the way of saying it, such as `predicated`; no text occurs twice. The labels are drawn
        in the shares of the paper's sets: negative, neutral and positive in 28, 40.5 and 31.5 % of the English rows
        and in 37, 35 and 28 % of those in any other language.

    Raises:
        GlossaeError: the language is unknown, or `number` is out of range.
    """
    check_request(number, language)
    draw = Draw(Random(seed))
    shares = SHARES.get(language, SHARES["da"])
    rows: dict[str, LabelledText] = {}
    while len(rows) < number:
        label = draw.random.choices(list(shares), list(shares.values()))[0]
        drawn = len(rows)
        while len(rows) == drawn:
            sentence = _say(draw, label)
            text = realise(sentence, language)
            if is_varied(sentence):
                pair = f"toy-sentiment:{drawn}"
                rows.setdefault(text, LabelledText(text, label, pair, sentence.construction))
    return list(rows.values())


def _say(draw: Draw, label: str) -> Sentence:
    if label == NEUTRAL:
        return draw.pick(NEITHER)(draw)
    return draw.pick(VERDICTS)(draw, label == POSITIVE)
