"""The registry of constructions: each draws one kind of sentence.

To add one, write a function from `Draw` to `Sentence` under `@construction`, in `statements`, `properties`, `requests`
or `linked`; its name is the construction's.
"""

from collections.abc import Callable, Iterator

from toy_grammar.abstract import Clause, Name, Nominal, Predicate, Sentence
from toy_grammar.draw import Draw

Construction = Callable[[Draw], Sentence]

constructions: dict[str, Construction] = {}
"""The constructions by name, in the order in which they were registered."""


def construction(function: Construction) -> Construction:
    """Register a construction under its function's name."""
    constructions[function.__name__] = function
    return function


def drawn(name: str, draw: Draw) -> Sentence:
    """A varied sentence of the construction `name`."""
    while not is_varied(sentence := constructions[name](draw)):
        pass
    return sentence


def is_varied(sentence: Sentence) -> bool:
    """Whether a sentence says no noun, name, adjective or full verb twice."""
    said = list(_said(sentence))
    return len(set(said)) == len(said)


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
            yield from (said for said in (part.adjective, part.job, part.years) if said)
    for inner in vars(part).values():
        if hasattr(inner, "__dataclass_fields__"):
            yield from _said(inner)
