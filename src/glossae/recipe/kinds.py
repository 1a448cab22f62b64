"""The types that many settings have."""

from typing import Annotated, TypeAlias

from glossae.recipe.fitting import AtLeast, Between, Matches, NotEmpty

Count: TypeAlias = Annotated[int, AtLeast(1)]
Fraction: TypeAlias = Annotated[float, Between(0, 1)]
Text: TypeAlias = Annotated[str, NotEmpty()]
Language: TypeAlias = Annotated[
    str, Matches("[a-z]{2,3}", "a language code of two or three lower-case letters, such as da")
]
