"""The registry of constructions: each draws one kind of sentence.

To add one, write a function from `Draw` to `Sentence` under `@construction`, in `statements`, `properties`, `requests`
or `linked`; its name is the construction's.
"""

from collections.abc import Callable, Iterator

from sprog.toy.abstract import Clause, Name, Nominal, Predicate, Sentence
from sprog.toy.draw import Draw

Construction = Callable[[Draw], Sentence]

constructions: dict[str, Construction] = {}
"""The constructions by name, in the order in which they were registered."""


def construction(function: Construction) -> Construction:
    """Register a construction under its function's name."""
    constructions[function.__name__] = function
    return function


def drawn(name: str, draw: Draw) -> Sentence:
    """A sentence of the construction `name` that says no noun, name, adjective or full verb twice."""
    while True:
        sentence = constructions[name](draw)
        said = list(_said(sentence))
        if len(set(said)) == len(said):
            return sentence


def _said(part: object) -> Iterator[str]:
    match part:
        case Nominal():
            yield part.noun
            if part.adjective:
                yield part.adjective
        case Name():
            yield part.name
        case Clause(verb=verb) if verb not in ("be", "become", "have", "exist"):
            yield verb
        case Predicate():
            yield from (said for said in (part.adjective, part.job) if said)
    for inner in vars(part).values():
        if hasattr(inner, "__dataclass_fields__"):
            yield from _said(inner)
