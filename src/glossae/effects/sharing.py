"""A knob on the hub: its file, its card, and how it is fetched."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from glossae.errors import GlossaeError
from glossae.hub import Repository, download, hub_errors, local_place
from glossae.sae import MARK, metadata, plain, table

if TYPE_CHECKING:
    from glossae.effects.knob import Knob

FILE = "knob.safetensors"


def locate(name: Path | str, revision: str | None, filename: str) -> Path:
    """The local file of what `Knob.from_pretrained` names; what is on the hub is fetched.

    Raises:
        GlossaeError: the hub or the network refuses, or the repository has no such file.
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if place := local_place(name, revision):
        return place / filename if place.is_dir() else place
    repository = Repository.named(name, revision)
    with hub_errors(repository, str(name)):
        try:
            return download(repository, filename)
        except RemoteEntryNotFoundError as error:
            raise GlossaeError(f"{name}: has no {filename}: see {repository.page}/tree/main") from error


def snippet(knob: "Knob", repository: str) -> list[str]:
    """Lines of a card: how to turn a plain transformers model with the knob."""
    if knob.model == "toy":
        loads, model, writes = (
            ['lm = gl.load("toy")'],
            "lm",
            ['    print(lm.write("When he went fishing he saw"))'],
        )
    else:
        # a model that is not from the hub has only the last part of its folder's name here
        quoted = json.dumps(knob.model if knob.commit else f"FOLDER/{knob.model}", ensure_ascii=False)
        place = quoted + (f", revision={json.dumps(knob.commit)}" if knob.commit else "")
        loads = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"model = AutoModelForCausalLM.from_pretrained({place}).eval()",
            f"tokenizer = AutoTokenizer.from_pretrained({place})",
        ]
        model, writes = (
            "model",
            [
                '    inputs = tokenizer("When he went fishing he saw", return_tensors="pt")',
                "    print(tokenizer.decode(model.generate(**inputs, max_new_tokens=30)[0]))",
            ],
        )
    turn = f'with gl.Knob.from_pretrained("{repository}").on({model}):'
    return ["```python", "import glossae as gl", *loads, turn, *writes, "```", ""]


def facts(knob: "Knob") -> list[str]:
    """Lines of a card: a table of what the knob is."""
    rows = {
        "Model": plain(knob.model + (f", commit {knob.commit}" if knob.commit else "")),
        "Site": plain(str(knob.site)),
        "Units": plain(", ".join(knob.names)),
        "Operation": f"{knob.family.operation}, at the dose {knob.dose:.4g}",
        "Languages": plain(f"{knob.target}; the reference is {knob.reference}"),
        "Hash": knob.hash[:16],
    }
    return table(("", ""), rows.items())


def knob_card(knob: "Knob", repository: str) -> str:
    """The card of a knob that is shared alone."""
    head = metadata(
        model=knob.model, commit=knob.commit, languages=(knob.target, knob.reference), library="glossae"
    )
    lines = [
        f"{head}# A knob for {plain(knob.target)} in {plain(knob.model)}",
        "",
        MARK,
        "",
        f"Units of one site of {plain(knob.model)} that stand for the language {plain(knob.target)}, found by "
        f"glossae {knob.version}. The dose 1 moves the mean of {plain(knob.reference)} text to that of "
        f"{plain(knob.target)} text; below 0 turns the language down. Nothing here says how well it works: see the run "
        "that it comes from.",
        "",
        *facts(knob),
        "",
        "## Load it",
        "",
        *snippet(knob, repository),
    ]
    return "\n".join(lines)
