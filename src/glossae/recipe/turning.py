"""What the units do: the sweep and its controls, steering, tasks."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from glossae.recipe.fitting import Above, AtLeast, Distinct, NotEmpty
from glossae.recipe.group import Settings
from glossae.recipe.kinds import Count, Language, Text


@dataclass(frozen=True, kw_only=True)
class Effects(Settings):
    """What turning the units up and down does."""

    group: ClassVar[str] = "effects"

    sweep: bool = True
    """Fix the selected units at each of the values, and measure other sets beside; false: the stage is left out."""
    values: Annotated[tuple[float, ...], NotEmpty(), Distinct()] = tuple(map(float, range(-8, 9, 2)))
    """The values the units are fixed at."""
    unit: Literal["latent", "p99"] = "latent"
    """What the values count: the latent's own units, or its 99th percentile on target text."""
    bootstrap: Annotated[int, AtLeast(2)] = 1000
    """Resamples of the sentences behind an interval."""
    families: Annotated[tuple[Literal["latent", "neuron", "direction"], ...], Distinct()] = (
        "latent",
        "neuron",
        "direction",
    )
    """What is measured beside the selected latents: other languages' latents and those of three autoencoders of random
    weights; the best neurons; the difference of means and the probe's direction."""
    sentences: Count | None = None
    """Of each text and language at most so many sentences; none: all."""
    precision: Annotated[float, Above(0)] | None = 0.03
    """Sentences are added until half the 95 % interval of each change of loss under the selected units' edits is at
    most this, nats a token, or a tenth of the change; none: all sentences are measured."""
    tune: bool = True
    """Also choose the dose with the target's lowest loss on tune, and test it on test."""
    controls: Annotated[int, AtLeast(0)] = 0
    """Draw so many sets of other latents, and so many random directions, to rank the selected ones among; 0: none."""
    controls_edits: Annotated[tuple[Literal["zero", "mean", "set"], ...], NotEmpty(), Distinct()] = ("zero",)
    """What is done to drawn latents, each at the cost of a pass a draw: they are switched off, brought to their mean
    on the reference's text, or set at the dose that costs the target 0.3 nats."""
    controls_on: Annotated[tuple[Language, ...], Distinct()] = ()
    """Languages of test besides the target and the reference that draws are measured on, so that sets are compared by
    how much more the target loses than the nearest of the others, too."""
    prompts: bool = True
    """Continue the paper's eight prompts, raw and steered."""
    max_length: Count = 20
    """Tokens of a prompt and its continuation together; at least one is new."""


@dataclass(frozen=True, kw_only=True)
class Steering(Settings):
    """Prompts continued under families of units over doses, beside each other. Without prompts there is none."""

    group: ClassVar[str] = "steering"

    prompts: Annotated[int, AtLeast(0)] = 0
    """Prompts cut from the reference's sentences of test, beside the paper's own; 0: nothing is steered."""
    prompt_tokens: Annotated[int, AtLeast(2)] = 8
    """Their length; only sentences of at least twice that are cut."""
    tokens: Count = 20
    """New tokens of each continuation."""
    ending: bool = False
    """Let a continuation end where the model ends it; else all are steering.tokens long."""
    values: Annotated[tuple[Annotated[float, Above(0)], ...], NotEmpty(), Distinct()] = (1.0, 2.0, 4.0, 8.0)
    """Doses: 1 takes each unit from its mean on the reference's text to that on the target's."""
    kl: Annotated[tuple[Annotated[float, Above(0)], ...], Distinct()] = (0.1, 0.3, 1.0)
    """Nats a token by which the reference's text may differ: a dose is looked for that does just this."""
    families: Annotated[
        tuple[
            Literal["latents_set", "latents_add", "neurons_set", "neurons_add", "means_add", "means_project"],
            ...,
        ],
        NotEmpty(),
        Distinct(),
    ] = ("latents_set", "latents_add", "neurons_add", "means_add", "means_project")
    """What is compared: the selected latents set or added, the best neurons, the difference of means."""
    sample: bool = False
    """Draw every token, by the run's seed, instead of taking the most probable one."""
    examples: Annotated[int, AtLeast(0)] = 4
    """Cut prompts whose continuations are shown, besides the paper's."""

    @property
    def wanted(self) -> bool:
        """Whether anything is steered."""
        return self.prompts > 0


@dataclass(frozen=True, kw_only=True)
class Tasks(Settings):
    """Downstream tasks with the units fixed at each value. Without tasks.names there are none."""

    group: ClassVar[str] = "tasks"

    names: Text | None = None
    """Labelled sets, separated by blanks: angry-tweets, scala-da and tweet-sentiment (from the hub), toy-sentiment:da,
    NAME:CODE=SOURCE (a folder, a file, hub:OWNER/NAME, scala:TREEBANK); none: none."""
    values: Annotated[tuple[float, ...], NotEmpty(), Distinct()] = (-8.0, -4.0, 0.0, 4.0, 8.0)
    """The values the units are fixed at; they count what effects.unit says."""
    protocol: Literal["controlled", "as_coded", "both"] = "controlled"
    """How the final state is read: by scaled regressions solved to the end, as the paper's code does, or both ways."""
    rows: Annotated[int, AtLeast(100)] = 4000
    """At most this many rows of a task, to learn from and to test on together; as_coded has its own 2,000."""
    finetune: bool = False
    """Also fine-tune the model with each edit in place (LoRA, error-preserving edits), which needs peft."""
    seeds: Count = 3
    """Fine-tunings of each."""
    epochs: Count = 3
    """Passes of a fine-tuning over its rows."""

    @property
    def wanted(self) -> bool:
        """Whether there is any task."""
        return self.names is not None
