"""The contract of `results.json`, as typed classes.

A stage returns the keys that it fills as `StageResults`; the engine joins them into `Results`, which is what
`results.json` holds and what `open_run(...).results` gives back. Rates, shares and AUROCs lie between 0 and 1, losses
are in nats a token where the name does not say otherwise, languages are codes. What a run did not measure is None.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from glossae.errors import GlossaeError

Kind = TypeVar("Kind", bound="StageResults")

SCHEMA_VERSION = 3
"""Of `results.json`: another number means other keys, or other meanings."""


class Result(BaseModel):
    """A part of `results.json`: it does not change, and has no other keys than those of its class."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_json(self) -> dict[str, Any]:
        """What JSON holds of it."""
        return self.model_dump(by_alias=True)


# ---- corpora, probe, grid, sae

# ---- evidence, stability, features

# ---- baselines, effects, controls

# ---- tasks, steering

# ---- the whole


class StageResults(Result):
    """The keys of `results.json` that stages fill; a stage that was not run leaves None.

    A stage of one's own may fill a key of its own, with a `Result` or what JSON has.
    """

    model_config = ConfigDict(extra="allow")

    corpora: Any = None
    """The text: a row for each role, file and language."""
    probe: Any = None
    """The layer, and the probes that it is chosen by."""
    grid: Any = None
    """Small autoencoders of many kinds, where a grid was asked for."""
    sae: Any = None
    """The autoencoder."""
    evidence: Any = None
    """The tests of which units stand for a language."""
    stability: Any = None
    """Whether the units come again in autoencoders of other seeds, where those were asked for."""
    features: Any = None
    """The units that the run's rule selects."""
    baselines: Any = None
    """What training adds: trained and untrained autoencoders by one rule."""
    next_token: Any = None
    """What the units do to the next token's loss."""
    controls: Any = None
    """The same of matched latents and random directions, where draws were asked for."""
    tasks: Any = None
    """What they do to downstream tasks, where those were asked for."""
    generation: Any = None
    """Continuations under edits."""
    steering: Any = None
    """What the steered model writes, where prompts were asked for."""

    def joined(self: "Kind", *others: "StageResults") -> "Kind":
        """With the keys that others fill."""
        filled = {key: getattr(other, key) for other in others for key in other.model_fields_set}
        return self.model_copy(update=filled)

    def summary(self) -> dict[str, Any]:
        """What JSON holds of the keys that were filled."""
        return {key: value for key, value in self.to_json().items() if key in self.model_fields_set}


class Results(StageResults):
    """The whole of `results.json`; nothing in it depends on the clock or the machine."""

    recipe: str
    """The recipe's name."""
    protocol: str
    """`controlled`, `published` or `as_coded`."""
    model: str
    """The model as the recipe names it."""
    seed: int
    """From which every random draw comes."""
    schema_version: int
    """The version of this contract, `SCHEMA_VERSION`."""
    published: Any = None
    """The paper's own figures, where the recipe is `paper`."""


def read_results(kind: type[Kind], path: Path, again: str = "") -> Kind:
    """Read `results.json`, or what one stage left of it.

    Args:
        kind: `Results` or `StageResults`.
        path: the file.
        again: ends the error of a file that cannot be read: what to do about it.

    Raises:
        GlossaeError: it cannot be read, does not hold what it should, or is of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(content, dict)
            and (version := content.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION
        ):
            raise GlossaeError(
                f"{path}: schema_version {version} has other keys than this glossae reads, which are those of "
                f"{SCHEMA_VERSION}: run the same command again, which writes it anew"
            )
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GlossaeError(f"{path}: cannot be read ({where}: {first['msg']}){again}") from error
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){again}") from error
