"""What a stage of a run is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from glossae.plan import Quantities, SourceFacts, Work
from glossae.recipe import Recipe
from glossae.results import StageResults
from glossae.run.context import Context, Inputs, Progress


@dataclass(kw_only=True)
class Stage:
    """A stage of a run: what it depends on, its work, what it says, and what it costs.

    Attributes:
        name: of its folder, and in `--until`.
        does: what the console says while it works; where that depends on the recipe, a function of it.
        run: does the work in the stage's folder; returns the keys of `results.json` that it fills.
        inputs: what its result depends on: asked when the stages before it are done.
        cost: arithmetic of a dry run: None if unknown until something is fetched.
        words: what it does by numbers, for a dry run.
        asked: whether a recipe has this stage.
        lower: the settings that make it need less memory, the likeliest first.
        cells: whether its work has independent cells, which go through `Context.share`.
        keep: patterns of files in its folder that outlive a change of its inputs.
        models: the models besides the run's own that it loads, as pairs of a setting's key and a name.
        sources: text of its own that it reads, for a dry run.
        prepare: reads text of its own, before any model is loaded.
        check: refuses what cannot be, once the model is loaded; also where the run ends before this stage.
        notes: lines to say before the work begins.
        forecast: the same in a dry run.
        adds: keys as they are to be once all that is done is known, where that costs no work.
        lines: the lines that end a run in the terminal, from `results.json`, the target and the reference.
    """

    name: str
    does: str | Callable[[Recipe], str]
    run: Callable[[Context, Progress], StageResults]
    inputs: Callable[[Context], Inputs]
    cost: Callable[[Quantities], Work | None]
    words: Callable[[Quantities], str]
    asked: Callable[[Recipe], bool] = lambda _: True
    lower: str = "batch_tokens"
    cells: bool = False
    keep: tuple[str, ...] = ()
    models: Callable[[Recipe], list[tuple[str, str]]] = lambda _: []
    sources: Callable[[Recipe], list[SourceFacts]] = lambda _: []
    prepare: Callable[[Context], None] = lambda _: None
    check: Callable[[Context], None] = lambda _: None
    notes: Callable[[Context], Iterable[str]] = lambda _: ()
    forecast: Callable[[Quantities], Iterable[str]] = lambda _: ()
    adds: Callable[[Recipe, StageResults], StageResults] = lambda *_: StageResults()
    lines: Callable[[StageResults, str, str], Iterable[str]] = field(default=lambda *_: ())

    def doing(self, recipe: Recipe) -> str:
        """What the console says while it works on a recipe."""
        return self.does if isinstance(self.does, str) else self.does(recipe)


def settings_of(recipe: Recipe, group: str, *but: str) -> dict[str, Any]:
    """A group of settings without some: never with `checkpoint` and `activations`, which change no result."""
    left_out = {"checkpoint", "activations", *but}
    return {group: {key: value for key, value in recipe.to_dict()[group].items() if key not in left_out}}
