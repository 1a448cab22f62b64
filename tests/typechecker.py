"""The type checker that shape annotations are checked with: beartype, with int where float is said (PEP 484)."""

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
_inner = {}


def checked(fn):
    """Check a signature, which jaxtyping hands over as a function without a body.

    jaxtyping does so anew for a function inside a function each time the outer one is called, and beartype needs a
    millisecond to write the check: half of a tiny run. A check that was written for the same signature is taken again.
    """
    if "<locals>" not in fn.__qualname__:
        return _checked(fn)
    code = fn.__code__
    annotations = str(fn.__annotations__)
    if "<locals>" in annotations:  # a class that is made anew too
        return _checked(fn)
    key = fn.__module__, fn.__qualname__, code.co_code, code.co_varnames, annotations
    if key not in _inner:
        _inner[key] = _checked(fn)
    return _inner[key]
