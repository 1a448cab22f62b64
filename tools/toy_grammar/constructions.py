"""All constructions, in the order of the modules that register them."""

from toy_grammar import linked, properties, requests, statements
from toy_grammar.abstract import Sentence
from toy_grammar.draw import Draw
from toy_grammar.registry import constructions, drawn

MODULES = (statements, properties, requests, linked)

CONSTRUCTIONS = tuple(constructions)
"""The names of the constructions."""


def draw_sentence(draw: Draw) -> Sentence:
    """A sentence of any construction, each as likely."""
    return drawn(draw.pick(CONSTRUCTIONS), draw)


def draw_construction(name: str, draw: Draw) -> Sentence:
    """A sentence of the construction `name`."""
    return drawn(name, draw)
