"""The box on top of the page: what was found, in a few plain sentences."""

from glossae.report.reading import RunFiles
from glossae.report.sections.baselines import what_training_adds
from glossae.report.sentences import (
    against_controls,
    at_matched_damage,
    others_at_matched_damage,
    panel_words,
    random_weights_words,
    selective_at,
    selectivity_row,
    site_words,
    third_languages,
    units_found,
)
from glossae.report.wording import language_name, short


def verdict(files: RunFiles) -> list[str]:
    """Whether units were found, what passes tests, what the units do, for which languages they stand, and limits."""
    unsound = (files.section("sae") or {}).get("unsound")
    paragraphs = [
        f"The autoencoder is unsound. {' '.join(unsound)}" if unsound else "",
        what_training_adds(files),
        units_found(files),
        " ".join(filter(None, (panel_words(files), random_weights_words(files)))),
        " ".join(filter(None, _effect(files))),
        " ".join(filter(None, (third_languages(files), others_at_matched_damage(files)))),
        _limits(files),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _effect(files: RunFiles) -> list[str]:
    if files.features is None:
        return []
    nothing = f"No selective latent was found at this site ({site_words(files)})."
    if not files.units:
        return [nothing]
    if files.section("next_token") is None:
        if files.section("baselines") is not None:
            return []
        if "effects" in files.to_come:
            return ["What the units do to the loss has not been measured yet."]
        return ["What the units do to the loss was not measured in this run."]
    compared = [at_matched_damage(files, at, splice=False) for at in (0.1, 0.3)]
    # where the loss does not even rise by the smaller step, the larger says nothing new
    smaller = selectivity_row(files, 0.1, splice=False)
    if smaller is not None and not smaller["reached"]:
        compared = compared[:1]
    selective = selective_at(files)
    target, reference = language_name(files.target), language_name(files.reference)
    more = f"turning them down costs {target} more than twice what it costs {reference}"
    if not selective:
        judgement = f"That is too little to compare with {reference}. {nothing}" if any(compared) else ""
    elif all(selective.values()):
        judgement = f"So {more}: against {reference} the units are selective."
    elif any(selective.values()):
        yes, no = (next(at for at, is_so in selective.items() if is_so is wanted) for wanted in (True, False))
        judgement = (
            f"So at {short(yes)} nats {more}, but not at {short(no)} nats: "
            f"against {reference} the units are selective over a part of the sweep."
        )
    else:
        judgement = (
            f"So turning them down costs {reference} at least half of what it costs {target}. {nothing}"
        )
    return [*compared, judgement]


def _limits(files: RunFiles) -> str:
    if files.features is None:
        return ""
    if files.rows("next_token", "controls"):
        return against_controls(files)
    words = "Random latents and random directions were not drawn in this run (effects.controls): "
    if not files.units:
        return words + "this is what one autoencoder has at one site, not proof that nothing is there."
    return words + (
        f"this is no proof that these units do more than as many others would, or that the model uses them "
        f"to write {language_name(files.target)}."
    )
