"""All constructions, in the order of the modules that register them."""

from glossae.toy import linked, properties, requests, statements
from glossae.toy.abstract import Sentence
from glossae.toy.draw import Draw
from glossae.toy.registry import constructions, drawn

MODULES = (statements, properties, requests, linked)

CONSTRUCTIONS = tuple(constructions)
"""The names of the constructions."""


def draw_sentence(draw: Draw) -> Sentence:
    """A sentence of any construction, each as likely."""
    return drawn(draw.pick(CONSTRUCTIONS), draw)


def draw_construction(name: str, draw: Draw) -> Sentence:
    """A sentence of the construction `name`."""
    return drawn(name, draw)
