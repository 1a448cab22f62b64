"""The box on top of the page, and the sentences about units and damage that sections repeat."""

from statistics import fmean

from glossae.reporting.reading import RunFiles
from glossae.reporting.sections.baselines import what_training_adds
from glossae.reporting.wording import (
    NO_BREAK,
    capital,
    counted,
    interval,
    language_list,
    language_name,
    listed,
    moves,
    number,
    percent,
    plural,
    short,
    whole,
)
from glossae.results import Control, LossCell, Selectivity, UnitRow

PLACES = {"held_out": "the half held out", "replicate": "the other text"}
"""The texts that units are tested on again."""

# an effect is called selective when the other language loses less than this share of the target's loss
SELECTIVE_SHARE = 0.5
# a unit is called quiet on a language when it fires there less than this share as often as on the target,
# and the languages on which it fires at least `SELECTIVE_SHARE` as often are called the same group
_QUIET_SHARE = 0.1
_DAMAGES = (0.1, 0.3)
"""Rises of the target's loss, in nats per token, at which languages are compared."""


def verdict(files: RunFiles) -> list[str]:
    """Whether units were found, what passes tests, what the units do, for which languages they stand, and limits."""
    unsound = files.results.sae.unsound if files.results.sae else None
    paragraphs = [
        [f"The autoencoder is unsound. {' '.join(unsound)}" if unsound else ""],
        [what_training_adds(files)],
        [units_found(files)],
        [panel_words(files), random_weights_words(files)],
        _effect(files),
        [third_languages(files), others_at_matched_damage(files)],
        [_limits(files)],
    ]
    return [" ".join(filter(None, sentences)) for sentences in paragraphs if any(sentences)]


# ---- what was looked for, and what was found


def site_words(files: RunFiles) -> str:
    """Which place in the model: `resid of layer 4`."""
    site: str = files.recipe.site
    layer, probe = files.recipe.layer, files.results.probe
    if probe and probe.layer_used is not None:
        layer = probe.layer_used
    if sae := files.results.sae:
        site, layer = sae.site, sae.layer
    return f"{site}, layer to be chosen" if layer == "auto" else f"{site} of layer {layer}"


def thresholds(files: RunFiles) -> tuple[float, float]:
    """The least rate on the target and the greatest on the reference: as the run applied them, or of its recipe."""
    rule = files.results.features.thresholds if files.results.features else files.recipe.features
    return rule.min_target, rule.max_reference


def rule_words(files: RunFiles) -> str:
    """The rule of the run: `the paper's rule (firing on more than 50 % of Danish and ...)`."""
    least, most = thresholds(files)
    name = "the paper's rule" if (least, most) == (0.5, 0.01) else "this run's rule"
    target, reference = files.names
    return (
        f"{name} (firing on more than {percent(least)} of {target} "
        f"and less than {percent(most)} of {reference} tokens)"
    )


def _firing(files: RunFiles, unit: UnitRow) -> str:
    """`latent 123, fires on 26 % of Danish and 1.2 % of English tokens`."""
    (least, most), (target, reference), rate = thresholds(files), files.names, unit.rate
    return (
        f"{unit.kind} {unit.unit}, fires on {percent(rate[files.target], apart_from=least)} of {target} and "
        f"{percent(rate[files.reference], apart_from=most)} of {reference} tokens"
    )


def units_found(files: RunFiles) -> str:
    """Whether units were found, by which rule, and how often the first fires."""
    if not (features := files.results.features):
        if "features" in files.to_come:
            return "Units have not been looked for yet."
        return "Units were not looked for in this run."
    units, rule, (target, reference) = features.units, features.rule, files.names
    by_tests = files.recipe.features.rule == "tested"
    asked = "this run's tests" if by_tests else rule_words(files)
    limit = percent(features.thresholds.max_reference_fallback)
    if not units:
        words = f"No latent passes {asked}"
        if files.recipe.features.fallback:
            words += (
                f", and none fires more often on {target} while staying under {limit} of {reference} tokens, as the "
                "fallback asks"
            )
        nearest = "".join(f" The nearest, {_firing(files, unit)}." for unit in features.nearest[:1])
        return f"{words}.{nearest}"
    first, latents = _firing(files, units[0]), capital(plural(len(units), "latent"))
    if rule in ("given", "tested"):
        how = (
            "named in the recipe and not selected" if rule == "given" else "taken that passed the tests above"
        )
        return f"{latents} {'was' if len(units) == 1 else 'were'} {how}. The first, {first}."
    if rule == "fallback":
        chosen = "the one latent" if len(units) == 1 else f"the {counted(len(units))} latents"
        return (
            f"No latent passes {asked}. The fallback took {chosen} with the largest difference in rates among those "
            f"under {limit} on {reference}: the first, {first}{'' if by_tests else _shortfall(files, units[0])}."
        ) + (_passing_rates(files) if by_tests else "")
    which = "It" if len(units) == 1 else "The one with the largest difference in rates"
    return f"{latents} pass{'es' if len(units) == 1 else ''} {rule_words(files)}. {which}, {first}."


def _passing_rates(files: RunFiles) -> str:
    """How many of the fallback's latents pass the rule on firing rates."""
    least, most = thresholds(files)
    passing = sum(u.rate[files.target] > least and u.rate[files.reference] < most for u in files.units)
    return f" Of these {whole(passing)} pass{'es' if passing == 1 else ''} {rule_words(files)}."


def _shortfall(files: RunFiles, unit: UnitRow) -> str:
    (least, most), (target, reference) = thresholds(files), files.names
    short_of = []
    if unit.rate[files.target] <= least:
        short_of.append(f"too seldom on {target}")
    if unit.rate[files.reference] >= most:
        short_of.append(f"too often on {reference}")
    return f", {listed(short_of)} for the rule" if short_of else ""


def third_languages(files: RunFiles) -> str:
    """Whether the units stand for the target, for a group of languages, or for `not the reference`."""
    units = files.units
    if not units:
        return ""
    target, reference = files.names
    others = [code for code in files.languages[2:] if all(code in unit.rate for unit in units)]
    if not others:
        # languages besides the pair that units were tested against, or whose loss was measured
        claims = files.tested.claims if files.tested else []
        further = {code for row in claims for code in row.inside + row.outside}
        further |= {cell.language for cell in files.next_token.cells}
        if further - {files.target, files.reference}:
            return ""
        return f"No third language was measured, so nothing here tells “{target}” from “not {reference}”."
    own = fmean(unit.rate[files.target] for unit in units)
    rates = {code: fmean(unit.rate[code] for unit in units) for code in others}
    shown = listed([f"{percent(rate)} of {language_name(code)}" for code, rate in rates.items()])
    average = "" if len(units) == 1 else ", averaged over the units"
    words = f"On other languages they fire on {shown} tokens, against {percent(own)} of {target}{average}: "
    alike = [code for code, rate in rates.items() if rate >= SELECTIVE_SHARE * own]
    if len(alike) == len(others):
        return words + f"they stand for “not {reference}” as much as for {target}."
    if alike:
        return words + f"they stand for more than {target}, for {language_list(alike)} too."
    if all(rate < _QUIET_SHARE * own for rate in rates.values()):
        return words + f"they stand for {target}, not just for “not {reference}”."
    return words + f"most for {target}, but not for {target} alone."


def panel_words(files: RunFiles) -> str:
    """How many latents pass the tests against every other language of the panel, and again on held-out text."""
    said, tested = list[str](), files.tested
    if tested is None:
        return ""
    # told from all others, or else from all but the closest
    for claim in tested.claims:
        if claim.kind != "latent" or claim.inside != (files.target,):
            continue
        others = claim.outside
        said.append(
            f"Tested against {plural(len(others), 'other language')} ({language_list(others)}), "
            f"{whole(claim.units)} of {whole(claim.of)} latents pass as {claim.claim}."
        )
        if claim.units:
            again = [
                f"{whole(row.passed)} of {whole(row.units)} on {PLACES[row.on]}"
                for row in tested.replication
                if (row.kind, row.tokens) == ("latent", tested.tokens) and row.passed is not None
            ]
            if again:
                said.append(f"The same test on text that was not searched: {listed(again)} pass again.")
            break
    return " ".join(said)


def random_weights_words(files: RunFiles) -> str:
    """How many latents pass the run's rule in autoencoders with random weights, beside the trained one."""
    rows = [
        (row.seed, row.passing)
        for row in files.next_token.chosen
        if row.language == files.target and row.passing is not None
    ]
    trained = [passing for seed, passing in rows if seed is None]
    random = [passing for seed, passing in rows if seed is not None]
    if not trained or not random:
        return ""
    counts = listed([whole(count) for count in random])
    words = f"With random weights, {counts} latents pass the same rule on the same text; trained, {whole(trained[0])}."
    return words if trained[0] > max(random) else f"{words} So training makes no more latents pass."


# ---- what the units do to the loss


def find_cell(
    files: RunFiles, language: str, edit: str, splice: bool | None, value: float | None = None
) -> LossCell | None:
    """The cell of the target's units on pooled text, if it was measured."""
    wanted = (files.target, "all", language, edit, splice)
    for cell in files.next_token.cells:
        own = (cell.units, cell.source, cell.language, cell.edit, cell.splice)
        if own == wanted and value in (None, cell.value):
            return cell
    return None


def doses(files: RunFiles, splice: bool) -> list[float]:
    """The values at which the units were fixed, in order."""
    wanted = ("set", splice, files.target)
    found = {c.value for c in files.next_token.cells if (c.edit, c.splice, c.units) == wanted}
    return sorted(value for value in found if value is not None)


def dose_words(files: RunFiles, value: str) -> str:
    """A written dose with its unit: `−8`, or `−8 times the 99th percentile`."""
    return f"{value} times the 99th percentile" if files.recipe.effects.unit == "p99" else value


def dose_unit(files: RunFiles) -> str:
    """What doses count, for an axis."""
    return "times the 99th percentile" if files.recipe.effects.unit == "p99" else "in units of the latent"


def has_interval(row: Selectivity) -> bool:
    """Whether the ratio per byte and its 95 % interval are finite: the other language's loss rises."""
    return row.ratio_per_byte is not None and row.ratio_per_byte_high is not None


def ratio_words(row: Selectivity) -> str:
    """The ratio per byte: `5.8`, or `≥ 30`, its one-sided 95 % limit where its interval has no upper end."""
    if has_interval(row):
        return number(row.ratio_per_byte, 1)
    least = row.ratio_per_byte_least
    return "no limit" if least is None else f"≥{NO_BREAK}{_limit(least)}"


def _limit(least: float) -> str:
    return whole(least) if least >= 100 else short(least)


def _ratio_said(row: Selectivity) -> str:
    """The same within a sentence."""
    least = row.ratio_per_byte_least
    if has_interval(row):
        spread = interval(row.ratio_per_byte_low, row.ratio_per_byte_high, 1)
        return f"a ratio of {number(row.ratio_per_byte, 1)}, 95{NO_BREAK}% interval {spread}"
    if least is None:
        return "no limit to the ratio"
    return f"a ratio of at least {_limit(least)}, a one-sided 95{NO_BREAK}% limit"


def _selectivity_row(
    files: RunFiles, at: float, splice: bool = False, versus: str | None = None
) -> Selectivity | None:
    """The row that compares the target with another language, or the reference, at `at` nats of damage."""
    wanted = (files.target, "set", splice, at, versus or files.reference)
    # on test, whose rows come first, or else on the panel
    rows = files.next_token.selectivity
    return next(
        (row for row in rows if (row.units, row.edit, row.splice, row.at, row.versus) == wanted), None
    )


def at_matched_damage(files: RunFiles, at: float, splice: bool) -> str:
    """What the reference has lost when the target has lost `at` nats, or that it never does."""
    row = _selectivity_row(files, at, splice)
    if row is None:
        return ""
    target, reference = files.names
    if not row.reached:
        deltas = [
            cell.delta
            for value in doses(files, splice)
            if value <= 0 and (cell := find_cell(files, files.target, "set", splice, value)) is not None
        ]
        most = f"; at most it {moves(max(deltas))}" if deltas else ""
        return f"The {target} loss never rises by {short(at)} nats as the units are turned down{most}."
    place = (
        "between no edit and the value 0"
        if row.value is None
        else f"with the units at {dose_words(files, number(row.value, 2))}"
    )
    spread = interval(row.margin_per_byte_low, row.margin_per_byte_high, 4)
    return (
        f"When the {target} loss has risen by {short(at)} nats per token, {number(row.target_delta_per_byte, 4)} "
        f"per byte ({place}), the {reference} loss {moves(row.other_delta_per_byte or 0.0, 4, past=True)} per byte: a "
        f"difference of {number(row.margin_per_byte, 4)} (95{NO_BREAK}% interval {spread}), {_ratio_said(row)}."
    )


def selective_at(files: RunFiles) -> dict[float, bool]:
    """By damage to the target, where it was reached: whether the reference loses less than half of that, per byte."""
    rows = {at: _selectivity_row(files, at) for at in _DAMAGES}
    return {
        at: (row.other_delta_per_byte or 0.0) < SELECTIVE_SHARE * (row.target_delta_per_byte or 0.0)
        for at, row in rows.items()
        if row and row.reached
    }


def others_at_matched_damage(files: RunFiles) -> str:
    """What the other languages have lost at the most damage to the target that was reached."""
    target, _ = files.names
    for at in reversed(_DAMAGES):
        found = {code: _selectivity_row(files, at, versus=code) for code in files.languages[2:]}
        rows = [(code, row) for code, row in found.items() if row is not None and row.reached]
        if rows:
            own = rows[0][1].target_delta_per_byte or 0.0
            others = {language_name(code): row.other_delta_per_byte or 0.0 for code, row in rows}
            parts = [f"the {name} loss {moves(delta, 4, past=True)}" for name, delta in others.items()]
            words = f"When {target} has lost {number(own, 4)} nats per byte, {listed(parts)}."
            more = [name for name, delta in others.items() if delta >= own]
            return f"{words} So {target} loses no more than {listed(more)}." if more else words
    return ""


def _effect(files: RunFiles) -> list[str]:
    """What turning the units down costs either language, and whether that is selective."""
    if not files.results.features:
        return []
    nothing = f"No selective latent was found at this site ({site_words(files)})."
    if not files.units:
        return [nothing]
    if not files.results.next_token:
        if files.results.baselines:
            return []
        if "effects" in files.to_come:
            return ["What the units do to the loss has not been measured yet."]
        return ["What the units do to the loss was not measured in this run."]
    compared = [at_matched_damage(files, at, splice=False) for at in _DAMAGES]
    # where the loss does not even rise by the smaller step, the larger says nothing new
    smaller = _selectivity_row(files, _DAMAGES[0])
    if smaller is not None and not smaller.reached:
        compared = compared[:1]
    selective = selective_at(files)
    target, reference = files.names
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


# ---- against drawn units


def against_controls(files: RunFiles) -> str:
    """The rank of the selected units among drawn ones, by every statistic."""
    controls = files.results.controls
    own = controls.rows if controls else []
    rows = [row for row in own if row.units == files.target and row.rank is not None]
    found: dict[tuple[str, str], list[str]] = {}
    done = {"zero": "switched off", "mean": "at the reference's mean"}
    for row in rows:
        edit = done.get(row.edit) or f"fixed at {number(row.value, 2)}"
        ranks = found.setdefault((edit, row.control), [])
        ranks.append(f"{rank_words(row)} by {statistic_words(files, row.statistic)}")
    said = "; ".join(
        f"{edit}, among the selected set and {whole(rows[0].draws)} draws of {control}: {', '.join(ranks)}"
        for (edit, control), ranks in found.items()
    )
    return f"{capital(said)}." if said else ""


def rank_words(row: Control) -> str:
    """`rank 1 of 1001`: the place of a set among itself and the draws."""
    return f"rank {whole(row.rank)} of {whole(row.draws + 1)}"


def statistic_words(files: RunFiles, statistic: str) -> str:
    """What a control is compared by: `Danish less English`."""
    own, _, other = statistic.partition(" - ")
    names = dict(zip(("target", "reference"), files.names, strict=True))
    less = {"": "", "nearest": " less the nearest other language"}.get(other)
    return f"{names[own]}{f' less {names[other]}' if less is None else less}"


def _limits(files: RunFiles) -> str:
    if not files.results.features:
        return ""
    if files.results.controls and files.results.controls.rows:
        return against_controls(files)
    words = "Random latents and random directions were not drawn in this run (effects.controls): "
    if not files.units:
        return words + "this is what one autoencoder has at one site, not proof that nothing is there."
    return words + (
        f"this is no proof that these units do more than as many others would, or that the model uses them "
        f"to write {language_name(files.target)}."
    )
