"""The verdict on top of the page: what was found, how sure that is, and against which controls."""

from statistics import fmean

from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import (
    NO_BREAK,
    capital,
    counted,
    interval,
    language_list,
    language_name,
    listed,
    number,
    percent,
    plural,
    short,
    signed,
    span,
    whole,
)
from glossae.results import Selectivity, SwitchedSet

PLACES = {"held_out": "the half held out", "replicate": "the other text"}
"""The texts that units are tested on again."""

# an effect is called selective when the other language loses less than this share of the target's loss
SELECTIVE_SHARE = 0.5
# sets without an autoencoder, as the verdict calls them
SIMPLER = {
    "difference of means": "difference of means",
    "probe": "probe's direction",
    "best neuron": "best neuron",
}
DAMAGES = (0.1, 0.3)
"""Rises of the target's loss, in nats per token, at which languages are compared."""


def verdict(files: RunFiles) -> list[tuple[str, str]]:
    """A heading and a sentence each, at most three; what a run did not measure has none."""
    said = (("Found", found(files)), ("How sure", how_sure(files)), ("Controls", controls(files)))
    return [(heading, f"{capital(sentence)}.") for heading, sentence in said if sentence]


# ---- what was found


def found(files: RunFiles) -> str:
    """What passes the tests, and what the run selects."""
    if not files.results.features and files.tested is None:
        done = (
            "have not been looked for yet"
            if "features" in files.to_come
            else "were not looked for in this run"
        )
        return f"units {done}"
    return "; ".join(filter(None, (_tested(files), _selected(files))))


def _tested(files: RunFiles) -> str:
    """How many latents are told from every other language of the panel, and again on held-out text."""
    tested = files.tested
    own = [row for row in tested.claims if row.kind == "latent"] if tested else []
    of_target = [row for row in own if row.inside == (files.target,)]
    if tested is None or not of_target:
        return ""
    # told from all others, or else from all but the closest
    claim = next((row for row in of_target if row.units), of_target[0])
    told = f"told from {language_list(claim.outside)} (false discovery rate {percent(tested.q)})"
    if not claim.units:
        also = next((row for row in own if row.units), None)
        others = f", {whole(also.units)} do{'es' if also.units == 1 else ''} as {also.claim}" if also else ""
        words = f"no latent of {whole(claim.of)} passes as {claim.claim}, {told}{others}"
    else:
        again = [
            f"{whole(row.passed)} of {whole(row.units)} on {PLACES[row.on]}"
            for row in tested.replication
            if (row.kind, row.tokens) == ("latent", tested.tokens) and row.passed is not None
        ]
        words = f"{whole(claim.units)} of {whole(claim.of)} latents pass as {claim.claim}, {told}"
        words += f", and again {listed(again)}" if again else ""
        words += _rates_of_tested(files)
    if set(claim.outside) - {files.reference}:
        return words
    # set aside, or with too little text to be tested against
    aside = [code for code in files.languages if code not in (files.target, files.reference)]
    if not aside:
        return f"{words}; {_no_third(files)}"
    return f"{words}, and not told from {language_list(aside)}"


def _rates_of_tested(files: RunFiles) -> str:
    """How often the latents that pass fire on the pair: one that often fires on the reference may pass all the same."""
    tested = files.tested.units if files.tested else []
    units = [each.unit for each in tested if each.selected and each.kind == "latent"]
    if files.statistics is None or not units:
        return ""
    own = files.statistics[files.statistics["unit"].isin(units)]
    rates = own.groupby("language")["rate"].mean()
    said = [
        f"{percent(rates[code])} of {name}" for code, name in zip(files.languages, files.names, strict=False)
    ]
    of, fire = ("their", "they fire") if len(units) > 1 else ("its", "it fires")
    return f", by {of} mean values in sentences: {fire} on {listed(said)} tokens"


def _no_third(files: RunFiles) -> str:
    target, reference = files.names
    return f"no third language was measured, so nothing tells {target} from “not {reference}”"


def thresholds(files: RunFiles) -> tuple[float, float]:
    """The least rate on the target and the greatest on the reference: as the run applied them, or of its recipe."""
    rates = files.results.features.thresholds if files.results.features else files.recipe.features
    return rates.min_target, rates.max_reference


def rule_words(files: RunFiles) -> str:
    """The rate rule: `fires on more than 50 % of Danish and less than 1 % of English tokens`."""
    (least, most), (target, reference) = thresholds(files), files.names
    return (
        f"fires on more than {percent(least)} of {target} and less than {percent(most)} of {reference} tokens"
    )


def _selected(files: RunFiles) -> str:
    """What the run selects, and on which languages that fires."""
    features = files.results.features
    by_tests = files.recipe.features.rule == "tested"
    if not features:
        return ""
    if by_tests and features.rule == "tested":
        # which pass is said; on what they fire as well is not
        alike = _fires_as_well(files)
        return f"the selected latent{'s' * (len(features.units) != 1)} {alike}" if alike else ""
    count = plural(len(features.units), "latent")
    if features.rule == "given":
        words = f"{count} {'was' if len(features.units) == 1 else 'were'} named in the recipe"
    elif features.rule == "paper":
        words = f"{count} pass{'es' if len(features.units) == 1 else ''} the rate rule (a latent {rule_words(files)})"
    else:
        none = "no latent passes the rate rule" if files.tested else f"no latent {rule_words(files)}"
        none = "no latent passes the run's tests" if by_tests else none
        words = (
            f"{none}; the fallback took the nearest {counted(len(features.units))}"
            if features.units
            else none
        )
    return f"{words}{_stands_for(files)}" if features.units else words


def _stands_for(files: RunFiles) -> str:
    """Whether the selected latents fire on other languages as well."""
    if alike := _fires_as_well(files):
        return f", which {alike}"
    if others := _others(files):
        return (
            f", which fire{'s' * (len(files.units) == 1)} less than half as often on {language_list(others)}"
        )
    further = {code for row in (files.tested.claims if files.tested else []) for code in row.outside}
    further |= {cell.language for cell in files.next_token.cells}
    return "" if further - {files.target, files.reference} else f"; {_no_third(files)}"


def _others(files: RunFiles) -> list[str]:
    """The languages besides the pair of which the selected latents' firing rates are known."""
    return [code for code in files.languages[2:] if all(code in unit.rate for unit in files.units)]


def _fires_as_well(files: RunFiles) -> str:
    """The other languages on which the selected latents fire at least half as often; empty without any."""
    others, units = _others(files), files.units
    if not others or not units:
        return ""
    (target, reference), one = files.names, "s" if len(units) == 1 else ""
    rates = {code: fmean(unit.rate[code] for unit in units) for code in (*files.languages[:2], *others)}
    alike = [code for code in others if rates[code] >= SELECTIVE_SHARE * rates[files.target]]
    if rates[files.reference] >= SELECTIVE_SHARE * rates[files.target]:
        return f"fire{one} on {language_list([files.reference, *alike])} too"
    if len(alike) == len(others):
        return f"stand{one} for “not {reference}” as much as for {target}"
    return f"fire{one} on {language_list(alike)} too" if alike else ""


# ---- how sure


def site_words(files: RunFiles) -> str:
    """Which place in the model: `resid of layer 4`."""
    site: str = files.recipe.site
    layer, probe = files.recipe.layer, files.results.probe
    if probe and probe.layer_used is not None:
        layer = probe.layer_used
    if sae := files.results.sae:
        site, layer = sae.site, sae.layer
    return f"{site}, layer to be chosen" if layer == "auto" else f"{site} of layer {layer}"


def selectivity_row(files: RunFiles, at: float, versus: str) -> Selectivity | None:
    """The row that compares the target with another language at `at` nats of damage, error-preserving."""
    wanted = (files.target, "set", False, at, versus)
    # on test, whose rows come first, or else on the panel
    rows = files.next_token.selectivity
    return next(
        (row for row in rows if (row.units, row.edit, row.splice, row.at, row.versus) == wanted), None
    )


def selective_at(files: RunFiles) -> dict[float, bool]:
    """By damage to the target, where it was reached: whether the reference loses less than half of that, per byte."""
    rows = {at: selectivity_row(files, at, files.reference) for at in DAMAGES}
    return {at: _is_selective(row) for at, row in rows.items() if row and row.reached}


def how_sure(files: RunFiles) -> str:
    """Selectivity with its interval, and whether that is selective."""
    if not files.results.features:
        return ""
    nothing = f"no selective latent was found at this site ({site_words(files)})"
    if not files.units:
        return nothing
    if not files.results.next_token:
        if "effects" in files.to_come:
            return "the loss by dose has not been measured yet"
        return "the loss by dose was not measured in this run (--effects.sweep true)"
    (target, reference), selective = files.names, selective_at(files)
    if not selective:
        if selectivity_row(files, DAMAGES[0], files.reference) is None:
            return "there is no sweep to compare languages along"
        return (
            f"the {target} loss never rises by {DAMAGES[0]} nats as the units are turned down, so {nothing}"
        )
    at = max(selective)
    rows = [
        (code, selectivity_row(files, at, code)) for code in (files.reference, _nearest(files, at)) if code
    ]
    parts = [f"{_times(row)} as {language_name(code)}" for code, row in rows if row is not None]
    if not any(selective.values()):
        judgement = nothing
    elif not all(selective.values()):
        where = next(short(at) for at, is_so in selective.items() if is_so)
        judgement = f"selective against {reference} at {where} nats only"
    else:
        close = [language_name(code) for code, row in rows[1:] if row and not _is_selective(row)]
        judgement = f"selective against {reference}{', not against ' if close else ''}{''.join(close)}"
    return (
        f"where the {target} loss rises by {short(at)} nats a token, it rises per byte {listed(parts)}: {judgement}"
        f"{_more_selective(files, at)}"
    )


def _more_selective(files: RunFiles, at: float) -> str:
    """The set without an autoencoder, if any, that is more selective than the latents, and against which languages.

    Both are edited in the same way, and the intervals of what the target loses more per byte lie apart.
    """
    against: dict[str, list[str]] = {}
    for code in filter(None, (files.reference, _nearest(files, at))):
        rows = [
            row
            for row in files.next_token.selectivity
            if (row.versus, row.text, row.splice, row.at, row.reached) == (code, "test", False, at, True)
        ]
        own = {row.edit: row.margin_per_byte_high for row in rows if row.units == files.target}
        for row in rows:
            limit, low = own.get(row.edit), row.margin_per_byte_low
            if row.units in SIMPLER and limit is not None and low is not None and low > limit:
                against.setdefault(row.units, []).append(code)
    if not against:
        return ""
    units = max(against, key=lambda name: len(against[name]))
    return f"; against {language_list(against[units])} the {SIMPLER[units]} is more selective"


def _is_selective(row: Selectivity) -> bool:
    return (row.other_delta_per_byte or 0.0) < SELECTIVE_SHARE * (row.target_delta_per_byte or 0.0)


def _nearest(files: RunFiles, at: float) -> str:
    """Of the other languages besides the reference, that which loses most at this damage; empty without one."""
    rows = {code: selectivity_row(files, at, code) for code in files.languages[2:]}
    lost = {code: row.other_delta_per_byte or 0.0 for code, row in rows.items() if row and row.reached}
    return max(lost, key=lambda code: lost[code]) if lost else ""


def has_interval(row: Selectivity) -> bool:
    """Whether the ratio per byte and its 95 % interval are finite: the other language's loss rises."""
    return row.ratio_per_byte is not None and row.ratio_per_byte_high is not None


def ratio_words(row: Selectivity) -> str:
    """The ratio per byte: `5.8`, or `≥ 30`, its one-sided 95 % limit where its interval has no upper end."""
    if has_interval(row):
        return number(row.ratio_per_byte, 1)
    least = row.ratio_per_byte_least
    return "no limit" if least is None else f"≥{NO_BREAK}{whole(least) if least >= 100 else short(least)}"


def _times(row: Selectivity) -> str:
    if has_interval(row):
        spread = interval(row.ratio_per_byte_low, row.ratio_per_byte_high, 1)
        return f"{number(row.ratio_per_byte, 1)} times as much (95{NO_BREAK}% {spread})"
    if row.ratio_per_byte_least is None:
        return "infinitely many times as much"
    return f"at least {ratio_words(row).removeprefix(f'≥{NO_BREAK}')} times as much (one-sided 95{NO_BREAK}%)"


# ---- controls


def controls(files: RunFiles) -> str:
    """How many latents pass untrained, what training adds, the strongest other set, and drawn sets."""
    if not files.results.features:
        return ""
    others = _strongest(files) or _difference(files)
    untrained, base = _untrained(files), files.results.baselines
    # of the run's tests it is said already
    said = base is None or base.reason or (untrained and files.recipe.features.rule == "tested")
    counts = "" if said else _counts(files)
    return "; ".join(filter(None, (untrained, counts, what_training_adds(files), others, _drawn(files))))


def _untrained(files: RunFiles) -> str:
    """How untrained autoencoders do in the tests: where any passes, or where none does and their best is better."""
    rows = files.results.baselines.autoencoders if files.results.baselines else []
    untrained, trained = ([row for row in rows if row.group == group] for group in ("untrained", "trained"))
    if not trained or not untrained:
        return ""
    theirs, own = (max(row.weakest for row in group) for group in (untrained, trained))
    areas = f"over the nearest language is {number(theirs, 3)} (trained: {number(own, 3)})"
    counts = [row.passing for row in untrained]
    if not max(*counts, *(row.passing for row in trained)):
        return f"the best AUROC of an untrained latent {areas}" if theirs > own else ""
    passing, one = span(whole(min(counts)), whole(max(counts))), max(counts) == 1
    return (
        f"{passing} latent{'' if one else 's'} of an untrained autoencoder pass{'es' if one else ''} the same tests "
        f"(trained: {whole(trained[0].passing)}); their best AUROC {areas}"
    )


def _strongest(files: RunFiles) -> str:
    """The set without an autoencoder that costs the target most above every other language, beside the latents."""
    base, target = files.results.baselines, files.target
    sets = [each for each in (base.sets if base else []) if each.is_off(target)]
    trained = [each for each in sets if each.group == "trained"]
    others = [each for each in sets if each.group not in ("trained", "untrained", "frozen decoder")]
    if not trained or not others:
        return ""

    def cost(each: SwitchedSet) -> tuple[float, float]:
        return each.change[target].delta, each.change[str(each.nearest)].delta

    best = max(others, key=lambda each: cost(each)[0] - cost(each)[1])
    own = max(trained, key=lambda each: each.size)
    several = best.group == "coordinates"
    what = plural(best.size, "coordinate") if several else f"the {best.group},"
    rises = [
        f"{files.names[0]} by {number(cost(each)[0])} nats a token and, the most of the other languages, in "
        f"{language_name(str(each.nearest))} by {number(cost(each)[1])}"
        for each in (best, own)
    ]
    return (
        f"{what} switched off raise{'' if several and best.size > 1 else 's'} the loss in {rises[0]}; "
        f"{plural(own.size, 'trained latent')} in {rises[1]}"
    )


def what_training_adds(files: RunFiles) -> str:
    """What a trained autoencoder's latents do that an untrained one's do not: of the most latents, whatever it is.

    The target less the nearest language comes first, as it is what a language's own latents are for.
    """
    trained = _counts(files)
    base = files.results.baselines
    if not base or base.reason is not None or not base.differences:
        return trained
    size = max(row.size for row in base.differences)
    rows = [row for row in base.differences if row.size == size]
    target, said = files.names[0], list[str]()
    for row in sorted(rows, key=lambda row: row.what):
        alone = f"{target} alone" if said else target
        less = f"{target} less the other language that loses most"
        words = alone if row.what == "target" else less
        spread = f"95{NO_BREAK}% {interval(row.low, row.high, write=signed)}"
        nothing = ", which shows nothing" if row.low <= 0 <= row.high else ""
        said.append(f"by {signed(row.difference)} nats a token in {words} ({spread}){nothing}")
    raises = f"{plural(size, 'trained latent')} switched off raise{'s' * (size == 1)} the loss"
    return f"{raises}, beyond as many untrained ones, {', and '.join(said)}"


def _counts(files: RunFiles) -> str:
    """How many latents of random weights would be selected, beside the trained autoencoder."""
    rows = [
        row for row in files.next_token.chosen if row.language == files.target and row.passing is not None
    ]
    trained = [row.passing for row in rows if row.seed is None and row.passing is not None]
    random = [row.passing for row in rows if row.seed is not None and row.passing is not None]
    if not trained or not random:
        return ""
    rule = "the run's tests" if files.recipe.features.rule == "tested" else "the rate rule"
    passing = f"{counted(trained[0]) if trained[0] else 'no'} latent{' passes' if trained[0] < 2 else 's pass'} {rule}"
    among = f"{span(whole(min(random)), whole(max(random)))} in each of {counted(len(random))} untrained ones"
    words = f"{passing} in the trained autoencoder, {among}"
    return words if trained[0] > max(random) else f"{words}, so training makes no more latents pass"


def _difference(files: RunFiles) -> str:
    """Whether the difference of means, which needs no autoencoder, is as selective against the reference."""
    rows = [
        row
        for row in files.next_token.selectivity
        if (row.units, row.versus, row.text, row.splice, row.reached)
        == ("difference of means", files.reference, "test", False, True)
    ]
    if not rows:
        return ""
    at = max(row.at for row in rows)
    best = max((row for row in rows if row.at == at), key=lambda row: row.margin_per_byte or 0.0)
    return f"with the difference of means {files.names[0]} loses {_times(best)} as {files.names[1]}"


def controls_flags(files: RunFiles) -> str:
    """What asks for random sets: without a sweep there is nothing to compare them with."""
    return f"{'' if files.recipe.effects.sweep else '--effects.sweep true '}--effects.controls 1000"


def _drawn(files: RunFiles) -> str:
    found = files.results.controls
    rows = [row for row in found.rows if row.units == files.target and row.rank is not None] if found else []
    if not rows:
        return f"no random sets were drawn ({controls_flags(files)})"
    # less what the other language loses, where that was counted
    first = max(rows, key=lambda row: (row.statistic == "target - reference", row.edit == "zero"))
    return (
        f"rank {whole(first.rank)} of {whole(first.draws + 1)} by {statistic_words(files, first.statistic)} among "
        f"draws of {first.control}"
    )


def statistic_words(files: RunFiles, statistic: str) -> str:
    """What a control is compared by: `Danish less English`."""
    own, _, other = statistic.partition(" - ")
    names = dict(zip(("target", "reference"), files.names, strict=True))
    less = {"": "", "nearest": " less the nearest other language"}.get(other)
    return f"{names[own]}{f' less {names[other]}' if less is None else less}"


# ---- doses


def dose_words(files: RunFiles, value: str) -> str:
    """A written dose with its unit: `−8`, or `−8 times the 99th percentile`."""
    return f"{value} times the 99th percentile" if files.recipe.effects.unit == "p99" else value


def dose_unit(files: RunFiles) -> str:
    """What doses count, for an axis."""
    return "times the 99th percentile" if files.recipe.effects.unit == "p99" else "in units of the latent"
