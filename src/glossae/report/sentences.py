"""The sentences that say what a run shows. Each is made from the numbers and holds whatever they are."""

from statistics import fmean

from glossae.report.reading import Row, RunFiles
from glossae.report.wording import (
    NO_BREAK,
    capital,
    counted,
    has_moved,
    interval,
    language_name,
    listed,
    moves,
    number,
    percent,
    plural,
    short,
    whole,
)

# an effect is called selective when the other language loses less than this share of the target's loss
SELECTIVE_SHARE = 0.5
# a unit is called quiet on a language when it fires there less than this share as often as on the target,
# and the languages on which it fires at least `SELECTIVE_SHARE` as often are called the same group
_QUIET_SHARE = 0.1


def site_words(files: RunFiles) -> str:
    """Which place in the model: `resid of layer 4`."""
    sae = files.section("sae")
    site = sae["site"] if sae else files.recipe.site
    layer = sae["layer"] if sae else (files.section("probe") or {}).get("layer_used", files.recipe.layer)
    return f"{site}, layer to be chosen" if layer == "auto" else f"{site} of layer {layer}"


def rule_words(files: RunFiles) -> str:
    """The rule of the run: `the paper's rule (firing on more than 50 % of Danish and ...)`."""
    least, most = thresholds(files)
    name = "the paper's rule" if (least, most) == (0.5, 0.01) else "this run's rule"
    target, reference = language_name(files.target), language_name(files.reference)
    return (
        f"{name} (firing on more than {percent(least)} of {target} "
        f"and less than {percent(most)} of {reference} tokens)"
    )


def thresholds(files: RunFiles) -> tuple[float, float]:
    """The least rate on the target and the greatest on the reference."""
    given = (files.features or {}).get("thresholds") or {}
    settings = files.recipe.features
    return (
        given.get("min_target", settings.min_target),
        given.get("max_reference", settings.max_reference),
    )


def firing(files: RunFiles, unit: Row) -> str:
    """`latent 123, fires on 26 % of Danish and 1.2 % of English tokens`."""
    least, most = thresholds(files)
    rate = unit["rate"]
    return (
        f"{unit['kind']} {unit['unit']}, fires on "
        f"{percent(rate[files.target], apart_from=least)} of {language_name(files.target)} and "
        f"{percent(rate[files.reference], apart_from=most)} of {language_name(files.reference)} tokens"
    )


def units_found(files: RunFiles) -> str:
    """Whether units were found, by which rule, and how often the first fires."""
    if files.features is None:
        if "features" in files.to_come:
            return "Units have not been looked for yet."
        return "Units were not looked for in this run."
    reference = language_name(files.reference)
    settings = files.recipe.features
    if not files.units:
        words = f"No latent passes {_asked(files)}"
        if settings.fallback:
            words += (
                f", and none fires more often on {language_name(files.target)} while staying under "
                f"{percent(_fallback_limit(files))} of {reference} tokens, as the fallback asks"
            )
        nearest = files.rows("features", "nearest")
        return f"{words}." + (f" The nearest, {firing(files, nearest[0])}." if nearest else "")
    first = files.units[0]
    if (files.features or {}).get("rule") == "given":
        return (
            f"{capital(plural(len(files.units), 'latent'))} {'was' if len(files.units) == 1 else 'were'} named in the "
            f"recipe and not selected. The first, {firing(files, first)}."
        )
    if (files.features or {}).get("rule") == "tested":
        return (
            f"{capital(plural(len(files.units), 'latent'))} {'was' if len(files.units) == 1 else 'were'} taken that "
            f"passed the tests above. The first, {firing(files, first)}."
        )
    if files.is_fallback:
        chosen = "the one latent" if len(files.units) == 1 else f"the {counted(len(files.units))} latents"
        return (
            f"No latent passes {_asked(files)}. The fallback took {chosen} with the largest difference in "
            f"rates among those under {percent(_fallback_limit(files))} on {reference}: "
            f"the first, {firing(files, first)}{'' if _by_tests(files) else _shortfall(files, first)}."
        ) + (_passing_rates(files) if _by_tests(files) else "")
    verb = "passes" if len(files.units) == 1 else "pass"
    which = "It" if len(files.units) == 1 else "The one with the largest difference in rates"
    return (
        f"{capital(plural(len(files.units), 'latent'))} {verb} {rule_words(files)}. "
        f"{which}, {firing(files, first)}."
    )


def _fallback_limit(files: RunFiles) -> float:
    given = (files.features or {}).get("thresholds") or {}
    limit: float = given.get("max_reference_fallback", files.recipe.features.max_reference_fallback)
    return limit


def _by_tests(files: RunFiles) -> bool:
    """Whether the run asks latents for its tests, and not for firing rates."""
    return files.recipe.features.rule == "tested"


def _asked(files: RunFiles) -> str:
    """What a latent has to pass in this run: its tests, or a rule on firing rates."""
    return "this run's tests" if _by_tests(files) else rule_words(files)


def _passing_rates(files: RunFiles) -> str:
    """How many of the fallback's latents pass the rule on firing rates."""
    least, most = thresholds(files)
    passing = sum(u["rate"][files.target] > least and u["rate"][files.reference] < most for u in files.units)
    return f" Of these {whole(passing)} pass{'es' if passing == 1 else ''} {rule_words(files)}."


def _shortfall(files: RunFiles, unit: Row) -> str:
    least, most = thresholds(files)
    short_of = []
    if unit["rate"][files.target] <= least:
        short_of.append(f"too seldom on {language_name(files.target)}")
    if unit["rate"][files.reference] >= most:
        short_of.append(f"too often on {language_name(files.reference)}")
    return f", {listed(short_of)} for the rule" if short_of else ""


def third_languages(files: RunFiles) -> str:
    """Whether the units stand for the target, for a group of languages, or for `not the reference`."""
    units = files.units
    if not units:
        return ""
    target, reference = language_name(files.target), language_name(files.reference)
    others = [code for code in files.languages[2:] if all(code in unit["rate"] for unit in units)]
    if not others:
        if _further_languages(files):
            return ""
        return f"No third language was measured, so nothing here tells “{target}” from “not {reference}”."
    own = fmean(unit["rate"][files.target] for unit in units)
    rates = {code: fmean(unit["rate"][code] for unit in units) for code in others}
    shown = listed([f"{percent(rate)} of {language_name(code)}" for code, rate in rates.items()])
    average = "" if len(units) == 1 else ", averaged over the units"
    words = f"On other languages they fire on {shown} tokens, against {percent(own)} of {target}{average}: "
    alike = [language_name(code) for code, rate in rates.items() if rate >= SELECTIVE_SHARE * own]
    quiet = [language_name(code) for code, rate in rates.items() if rate < _QUIET_SHARE * own]
    if len(alike) == len(others):
        return words + f"they stand for “not {reference}” as much as for {target}."
    if alike:
        return words + f"they stand for more than {target}, for {listed(alike)} too."
    if len(quiet) == len(others):
        return words + f"they stand for {target}, not just for “not {reference}”."
    return words + f"most for {target}, but not for {target} alone."


def _further_languages(files: RunFiles) -> set[str]:
    """Languages besides the pair that units were tested against, or whose loss was measured."""
    claims, cells = files.rows("evidence", "claims"), files.rows("next_token", "cells")
    found = {code for row in claims for code in (*row["inside"], *row["outside"])}
    return (found | {cell["language"] for cell in cells}) - {files.target, files.reference}


def panel_words(files: RunFiles) -> str:
    """How many latents pass the tests against every other language of the panel, and again on held-out text."""
    claims = [row for row in files.rows("evidence", "claims") if row["kind"] == "latent"]
    if not claims:
        return ""
    words = ""
    # told from all others, or else from all but the closest
    for claim in [row for row in claims if row["inside"] == [files.target]]:
        others = [language_name(code) for code in claim["outside"]]
        found = f"{whole(claim['units'])} of {whole(claim['of'])} latents pass as {claim['claim']}"
        words += f" Tested against {plural(len(others), 'other language')} ({listed(others)}), {found}."
        if claim["units"]:
            break
    words = words.strip()
    if not claim["units"]:
        return words
    again = [
        f"{whole(row['passed'])} of {whole(row['units'])} on {place}"
        for row in files.rows("evidence", "replication")
        for place in [{"held_out": "the half held out", "replicate": "the other text"}.get(row["on"])]
        if place and row["kind"] == "latent" and row["passed"] is not None
        if row["tokens"] == (files.section("evidence") or {}).get("tokens")
    ]
    return (
        f"{words} The same test on text that was not searched: {listed(again)} pass again."
        if again
        else words
    )


def random_weights_words(files: RunFiles) -> str:
    """How many latents pass the run's rule in autoencoders with random weights, beside the trained one."""
    rows = [
        row
        for row in files.rows("next_token", "chosen")
        if row["language"] == files.target and row["passing"] is not None
    ]
    trained = [row["passing"] for row in rows if row["seed"] is None]
    random = [row["passing"] for row in rows if row["seed"] is not None]
    if not trained or not random:
        return ""
    counts = listed([whole(count) for count in random])
    words = f"With random weights, {counts} latents pass the same rule on the same text; trained, {whole(trained[0])}."
    return words if trained[0] > max(random) else f"{words} So no more pass for the training."


def find_cell(
    files: RunFiles, language: str, edit: str, splice: bool | None, value: float | None = None
) -> Row | None:
    """The cell of the target's units on pooled text, if it was measured."""
    for cell in files.rows("next_token", "cells"):
        key = (cell["units"] or files.target, cell["source"], cell["language"], cell["edit"], cell["splice"])
        if key == (files.target, "all", language, edit, splice) and (value is None or cell["value"] == value):
            return cell
    return None


def doses(files: RunFiles, splice: bool) -> list[float]:
    """The values at which the units were fixed, in order."""
    return sorted(
        {
            cell["value"]
            for cell in files.rows("next_token", "cells")
            if cell["edit"] == "set" and cell["splice"] is splice and cell["units"] == files.target
        }
    )


def value_words(files: RunFiles, value: float) -> str:
    """A dose with its unit: `−8`, or `−8 times the 99th percentile`."""
    return dose_words(files, short(value))


def dose_words(files: RunFiles, value: str) -> str:
    """A dose that is already written, with its unit."""
    return f"{value} times the 99th percentile" if files.recipe.effects.unit == "p99" else value


def way_words(splice: bool) -> str:
    """How the edit is made, as a sentence begins."""
    return "With the reconstruction spliced in, as in the paper" if splice else "Error-preserving"


def _changes(files: RunFiles, splice: bool, value: float) -> list[str]:
    words = []
    for code in (files.target, files.reference):
        cell = find_cell(files, code, "set", splice, value)
        if cell is not None:
            spread = interval(cell["ci_low"], cell["ci_high"])
            # an interval that reaches below zero is no longer one of a rise
            of = "" if spread and cell["ci_low"] >= 0 else " of the change"
            inside = f" (95{NO_BREAK}% interval{of} {spread})" if spread else ""
            words.append(f"the {language_name(code)} loss {moves(cell['delta'])}{inside}")
    return words


def sweep(files: RunFiles, splice: bool) -> str:
    """What the lowest value does."""
    values, way = doses(files, splice), way_words(splice)
    if not values:
        return f"{way}: there are no units to sweep."
    lowest = values[0]
    cell = find_cell(files, files.target, "set", splice, lowest)
    beyond = " (a value the units never take by themselves)" if cell and cell.get("in_range") is False else ""
    changes = _changes(files, splice, lowest)
    if not changes:
        return f"{way}: neither language was measured."
    return f"{way}: at {value_words(files, lowest)}{beyond}, {listed(changes)}."


def sweep_details(files: RunFiles, splice: bool) -> str:
    """What switching off does, and where the target's loss is lowest."""
    values = doses(files, splice)
    sentences = []
    changes = _changes(files, splice, 0.0) if 0.0 in values else []
    if changes:
        sentences.append(f"switched off (fixed at 0), {listed(changes)}.")
    own = {value: find_cell(files, files.target, "set", splice, value) for value in values}
    losses = {value: cell["ce"] for value, cell in own.items() if cell is not None}
    none = find_cell(files, files.target, "none", splice)
    if losses and none is not None:
        best = min(losses, key=lambda value: losses[value])
        below = losses[best] < none["ce"]
        than = "lower than" if below else "but not lower than"
        sentences.append(
            f"{'The' if sentences else 'the'} {language_name(files.target)} loss is lowest at "
            f"{value_words(files, best)} ({number(losses[best])}), "
            f"{than} with the units unmodified ({number(none['ce'])})."
        )
    return f"{way_words(splice)}: {' '.join(sentences)}" if sentences else ""


def selectivity_row(files: RunFiles, at: float, splice: bool, versus: str | None = None) -> Row | None:
    """The row that compares the target with another language, or the reference, at `at` nats of damage."""
    for row in files.rows("next_token", "selectivity"):
        key = (row["units"], row["edit"], row["splice"], row["at"], row["versus"])
        # on test, whose rows come first, or else on the panel
        if key == (files.target, "set", splice, at, versus or files.reference):
            return row
    return None


def ratio_words(row: Row) -> str:
    """The ratio per byte: `5.8`, or `≥ 30`, its one-sided 95 % limit where its interval has no upper end."""
    if has_interval(row):
        return number(row["ratio_per_byte"], 1)
    least = row["ratio_per_byte_least"]
    return "no limit" if least is None else f"≥{NO_BREAK}{_limit(least)}"


def has_interval(row: Row) -> bool:
    """Whether the ratio per byte and its 95 % interval are finite: the other language's loss rises."""
    return row["ratio_per_byte"] is not None and row["ratio_per_byte_high"] is not None


def _limit(least: float) -> str:
    return whole(least) if least >= 100 else short(least)


def _ratio_said(row: Row) -> str:
    """The same within a sentence."""
    if has_interval(row):
        spread = interval(row["ratio_per_byte_low"], row["ratio_per_byte_high"], 1)
        return f"a ratio of {number(row['ratio_per_byte'], 1)}, 95{NO_BREAK}% interval {spread}"
    least = row["ratio_per_byte_least"]
    if least is None:
        return "no limit to the ratio"
    return f"a ratio of at least {_limit(least)}, a one-sided 95{NO_BREAK}% limit"


def at_matched_damage(files: RunFiles, at: float, splice: bool) -> str:
    """What the reference has lost when the target has lost `at` nats, or that it never does."""
    row = selectivity_row(files, at, splice)
    if row is None:
        return ""
    target, reference = language_name(files.target), language_name(files.reference)
    if not row["reached"]:
        deltas = [
            cell["delta"]
            for value in doses(files, splice)
            if value <= 0 and (cell := find_cell(files, files.target, "set", splice, value)) is not None
        ]
        most = f"; at most it {moves(max(deltas))}" if deltas else ""
        return f"The {target} loss never rises by {short(at)} nats as the units are turned down{most}."
    where = (
        "between no edit and the value 0"
        if row["value"] is None
        else f"with the units at {dose_words(files, number(row['value'], 2))}"
    )
    spread = interval(row["margin_per_byte_low"], row["margin_per_byte_high"], 4)
    return (
        f"When the {target} loss has risen by {short(at)} nats per token, "
        f"{number(row['target_delta_per_byte'], 4)} per byte ({where}), the {reference} loss "
        f"{has_moved(row['other_delta_per_byte'], 4)} per byte: a difference of "
        f"{number(row['margin_per_byte'], 4)} (95{NO_BREAK}% interval {spread}), {_ratio_said(row)}."
    )


def selective_at(files: RunFiles) -> dict[float, bool]:
    """By damage to the target, where it was reached: whether the reference loses less than half of that, per byte."""
    rows = {at: selectivity_row(files, at, splice=False) for at in (0.1, 0.3)}
    return {
        at: bool(row["other_delta_per_byte"] < SELECTIVE_SHARE * row["target_delta_per_byte"])
        for at, row in rows.items()
        if row and row["reached"]
    }


def others_at_matched_damage(files: RunFiles) -> str:
    """What the other languages have lost at the most damage to the target that was reached."""
    target = language_name(files.target)
    for at in (0.3, 0.1):
        found = {code: selectivity_row(files, at, False, code) for code in files.languages[2:]}
        rows = {language_name(code): row for code, row in found.items() if row is not None and row["reached"]}
        if rows:
            own = next(row["target_delta_per_byte"] for row in rows.values())
            parts = [
                f"the {name} loss {has_moved(row['other_delta_per_byte'], 4)}" for name, row in rows.items()
            ]
            words = f"When {target} has lost {number(own, 4)} nats per byte, {listed(parts)}."
            more = [name for name, row in rows.items() if row["other_delta_per_byte"] >= own]
            return f"{words} So {target} loses no more than {listed(more)}." if more else words
    return ""


def against_controls(files: RunFiles) -> str:
    """The rank of the selected units among drawn ones, by every statistic."""
    rows = [
        row
        for row in files.rows("next_token", "controls")
        if row["units"] == files.target and row["rank"] is not None
    ]
    if not rows:
        return ""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        ranks = found.setdefault((_done(row), row["control"]), [])
        ranks.append(f"{rank_words(row)} by {statistic_words(files, row['statistic'])}")
    said = "; ".join(
        f"{done}, among the selected set and {whole(rows[0]['draws'])} draws of {control}: {', '.join(ranks)}"
        for (done, control), ranks in found.items()
    )
    return f"{capital(said)}."


def rank_words(row: Row) -> str:
    """`rank 1 of 1001`: the place of a set among itself and the draws."""
    return f"rank {whole(row['rank'])} of {whole(row['draws'] + 1)}"


def statistic_words(files: RunFiles, statistic: str) -> str:
    """What a control is compared by: `Danish less English`."""
    own, _, other = statistic.partition(" - ")
    names = {"target": language_name(files.target), "reference": language_name(files.reference)}
    less = {"": "", "nearest": " less the nearest other language"}.get(other)
    return f"{names[own]}{f' less {names[other]}' if less is None else less}"


def _done(row: Row) -> str:
    done = {"zero": "switched off", "mean": "at the reference's mean"}
    return done.get(row["edit"]) or f"fixed at {number(row['value'], 2)}"
