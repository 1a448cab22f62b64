"""Everything a run can be told, with its type, its limits and what it means.

The text under a setting is its line in `glossae run --help`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from glossae.recipe.finding import Baselines, Evidence, Features
from glossae.recipe.fitting import AtLeast, Between, Matches
from glossae.recipe.group import BadSettingError, Settings
from glossae.recipe.kinds import Count, Text
from glossae.recipe.text import Corpora, Languages
from glossae.recipe.training import Grid, Probe, SaeSettings
from glossae.recipe.turning import Effects, Steering, Tasks

STAGES = (
    "corpora",
    "probe",
    "grid",
    "sae",
    "evidence",
    "stability",
    "features",
    "baselines",
    "effects",
    "controls",
    "tasks",
    "steering",
    "report",
)


@dataclass(frozen=True, kw_only=True)
class Report(Settings):
    """The page at the end."""

    group: ClassVar[str] = "report"

    texts: Annotated[int, AtLeast(0)] = 6
    """Sentences of each language shown with their tokens coloured."""
    title: Text | None = None
    """The page's title; none: made from the model and the languages."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Everything a run does."""

    name: Annotated[str, Matches(r"[^./\\][^/\\]*", "a name without slashes that starts with no dot")]
    """What the recipe is called; if it does not say, its file's name."""
    description: str = ""
    """One line for `glossae recipes`."""
    model: Text
    """A model on the hub (`ID` or `ID@REVISION`), a folder, a GGUF file, or toy."""
    site: Literal["mlp.hidden", "mlp.out", "attn.out", "resid"] = "mlp.hidden"
    """The place in a layer: what the MLP's output projection reads, what the MLP or the attention adds,
    or the residual stream after the block."""
    layer: Annotated[int, AtLeast(0)] | Literal["auto"] = "auto"
    """The layer, counted from 0; auto: where the target is told from the nearest language of the panel, or without a
    third language and by the paper from the reference."""
    protocol: Literal["controlled", "published", "as_coded"] = "controlled"
    """The paper's experiments without their known flaws, or as the paper's text has them, or beside that also as its
    code does: see the report's section on it."""
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0
    """The seed of everything drawn at random."""
    device: Annotated[str, Matches(r"auto|cpu|cuda(:\d{1,3})?|split", "auto, cpu, cuda, cuda:N or split")] = (
        "auto"
    )
    """Where to compute: cpu, cuda or cuda:N; auto: a GPU if there is one; split: the model shared out among
    all GPUs, which needs accelerate."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The model's precision; auto: bfloat16 on a GPU, and on a CPU that is fast in it where the loss stays the same;
    else float32."""
    bos: bool | Literal["auto"] = "auto"
    """Put the model's beginning-of-text token before each sentence; auto: if the model's tokenizer does so by
    itself."""
    chat: bool = False
    """Read each sentence as the reply in a chat, and prompt as its user, with the tokenizer's chat template."""
    max_tokens: Annotated[int, AtLeast(2)] | Literal["auto"] = "auto"
    """Longer texts are cut to this many tokens, and counted; auto: 256, or as many as the model has positions
    for."""
    batch_tokens: Count = 1024
    """Tokens the language model reads at a time."""
    languages: Languages = Languages()
    corpora: Corpora
    probe: Probe = Probe()
    grid: Grid = Grid()
    sae: SaeSettings
    evidence: Evidence = Evidence()
    features: Features = Features()
    baselines: Baselines = Baselines()
    effects: Effects = Effects()
    steering: Steering = Steering()
    tasks: Tasks = Tasks()
    report: Report = Report()

    @property
    def by_the_paper(self) -> bool:
        """Whether probes and autoencoders are the paper's: its text decides, and its code where that is silent."""
        return self.protocol != "controlled"

    @property
    def fits_papers_probes(self) -> bool:
        """Whether the paper's probes, of the target against the reference, are fitted at every lambda."""
        return self.probe.paper or self.by_the_paper or bool(self.probe.models) or self.replays_probes

    @property
    def trained_languages(self) -> tuple[str, ...] | None:
        """The languages of train that the probes and the autoencoder read; None: all."""
        pair = (self.languages.target, self.languages.reference)
        return None if self.sae.text == "all" else pair

    @property
    def replays_probes(self) -> bool:
        """Whether the paper's optimisation of its probes is replayed."""
        return self.probe.as_coded or self.protocol == "as_coded"

    @property
    def task_protocol(self) -> Literal["controlled", "as_coded", "both"]:
        """How tasks are read; never without the paper's way where all of the recipe is as coded."""
        controlled = self.tasks.protocol == "controlled"
        return "both" if self.protocol == "as_coded" and controlled else self.tasks.protocol

    @property
    def stages(self) -> tuple[str, ...]:
        """Of `STAGES` those that it goes through: some are there where they are asked for only."""
        asked = {
            "probe": self.layer == "auto" or self.fits_papers_probes,
            "grid": self.grid.wanted,
            "stability": self.evidence.seeds > 0,
            "baselines": self.baselines.untrained > 0 and not self.by_the_paper,
            "effects": self.effects.sweep,
            "tasks": self.tasks.wanted,
            "steering": self.steering.wanted,
            "controls": self.effects.controls > 0,
        }
        return tuple(stage for stage in STAGES if asked.get(stage, True))

    def check(self) -> None:
        """Settings that do not go together."""
        if self.chat and self.by_the_paper:
            raise BadSettingError(
                "chat", f"the paper reads no chats: leave it off, or protocol {self.protocol}"
            )
        if self.chat and self.bos != "auto":
            raise BadSettingError("bos", "has to be auto with chat: the chat template writes its own BOS")
        other = self.grid.model not in (None, self.model)
        if self.grid.wanted and other and self.grid.layer is None and self.layer == "auto":
            raise BadSettingError(
                "grid.model",
                f"needs grid.layer beside it: the probes choose a layer of {self.model}, not of {self.grid.model}",
            )
        if self.effects.controls and not self.effects.sweep:
            raise BadSettingError(
                "effects.controls", "needs effects.sweep: controls are held against what it measures"
            )
        for name in ("trained", "frozen"):
            if getattr(self.baselines, name) and self.sae.from_ is not None:
                raise BadSettingError(
                    f"baselines.{name}", "needs an autoencoder that is trained here, and sae.from gives one"
                )
        if self.evidence.seeds and self.sae.from_ is not None:
            raise BadSettingError(
                "evidence.seeds",
                "needs an autoencoder that is trained here: that of sae.from cannot be trained again with another seed",
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries, with lists and scalars in them: as JSON and YAML have them."""
        return dataclasses.asdict(self, dict_factory=_with_lists)

    def to_yaml(self) -> str:
        """The recipe as YAML; `load_recipe` reads it back equal."""
        from glossae.recipe import yaml_text

        return yaml_text.write(self.to_dict())


def _with_lists(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name.removesuffix("_"): list(value) if isinstance(value, tuple) else value for name, value in items
    }
