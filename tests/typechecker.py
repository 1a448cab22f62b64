"""The type checker that shape annotations are checked with: beartype, with int where float is said (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
