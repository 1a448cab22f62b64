"""The model card of a run, from its typed results: what is unsound first, then what was found and against what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glossae.effects import Knob, knob_facts
from glossae.evidence import testing
from glossae.recipe import Recipe
from glossae.results import SELECTED_BY, EvidenceResult, Results, Selectivity, SwitchedSet
from glossae.sae import Sae, metadata, plain, sae_card, table

# rises of the target's loss, nats a token, that selectivity is told at
_AT = (0.1, 0.3)
_UNITS = 20


@dataclass(frozen=True)
class Shared:
    """What the card of a run tells of.

    Attributes:
        load: lines on how to load it.
        recipe: without paths of this machine.
        results: the run's, likewise.
        record: `run.json`.
        sae: the autoencoder; its model is named as others may read it.
        knob: the selected latents as a knob, if one could be made.
        licences: the licence of each source of text; None where it is not known.
    """

    load: Sequence[str]
    recipe: Recipe
    results: Results
    record: Mapping[str, Any]
    sae: Sae
    knob: Knob | None
    licences: Mapping[str, str | None]


def run_card(shared: Shared) -> str:
    """The card, as Markdown with the hub's metadata."""
    recipe, sae = shared.recipe, shared.sae
    target, reference = recipe.languages.target, recipe.languages.reference
    model, commit = plain(recipe.model), shared.record.get("model_commit")
    languages = list(dict.fromkeys([target, reference, *recipe.languages.others]))
    known = {*shared.licences.values()}
    head = metadata(
        model=recipe.model.partition("@")[0],
        commit=commit,
        languages=languages,
        library="glossae" if sae.config.negative else "saelens",
        # of a repository whose text and model are glossae's own
        license=known.pop() if recipe.model == "toy" and len(known) == 1 else None,
    )
    name = plain(testing.language_name(target))
    what = "latents of a sparse autoencoder" + (" and a knob that turns them" if shared.knob else "")
    found = [
        f"{name} ({target}) in {model}: {what}, found and measured by "
        f"glossae {plain(str(shared.record.get('glossae')))}, recipe {plain(recipe.name)}, protocol "
        f"{recipe.protocol}.",
        "",
        *_verdict(shared),
        *_findings(shared),
        *_selectivity(shared.results, target),
    ]
    if shared.knob is not None:
        found += ["## The knob", "", *knob_facts(shared.knob), ""]
    rest = [
        *_text(shared),
        "## Load it",
        "",
        *shared.load,
        *_made(shared),
    ]
    return sae_card(sae, title=f"{name} units in {model}", head=head, found=found, rest=rest)


def _verdict(shared: Shared) -> Iterator[str]:
    """What has to be known before anything else: whether any latent passes the test for the target."""
    evidence, target = shared.results.evidence, shared.recipe.languages.target
    if not isinstance(evidence, EvidenceResult):
        yield from ("**No latent was tested against other languages.**", "")
        return
    own = next((row for row in evidence.claims if row.kind == "latent" and row.inside == (target,)), None)
    if own is not None and not own.units:
        yield (
            f"**No latent passes the test for {plain(own.claim)}**, against {', '.join(own.outside)}. "
            "What is selected below may stand for other languages too."
        )
        yield ""


def _findings(shared: Shared) -> Iterator[str]:
    """What was tested against which languages, at which rate of errors, and what passed."""
    results = shared.results
    evidence, features = results.evidence, results.features
    yield from ("## What was found", "")
    tested: tuple[str, ...] = ()
    if isinstance(evidence, EvidenceResult):
        panel = evidence.panels[0] if evidence.panels else None
        tested = tuple(panel.sentences) if panel else ()
        sentences = {
            code: f"{found} + {held}" for code, (found, held) in (panel.sentences if panel else {}).items()
        }
        yield (
            "Each unit was tested on a panel of languages: whether its values tell sentences of one language from "
            f"those of another with an AUROC above {evidence.minimum:g}, at a false discovery rate of "
            f"{evidence.q:g} over all units of a kind ({plain(evidence.method)} p-values). Sentences of the panel on "
            f"which units were found + held out: {plain(', '.join(f'{c} {n}' for c, n in sentences.items()))}."
        )
        rows = [
            (row.kind, plain(row.claim), ", ".join(row.outside), f"{row.units} of {row.of}")
            for row in evidence.claims
        ]
        yield from ("", *table(("Units", "Claim", "Told from each of", "Pass"), rows), "")
        again = [
            (
                row.kind,
                plain(row.on.replace("_", " ")),
                row.tokens,
                f"{row.passed} of {row.units}",
                _of(row.share, row.low, row.high),
            )
            for row in evidence.replication
            if row.units and row.passed is not None
        ]
        if again:
            yield "The units that passed, tested again on other text, in passages of at least so many tokens:"
            yield from ("", *table(("Units", "On", "Tokens", "Pass again", "Share"), again), "")
    elif evidence is not None:
        yield from (f"Nothing was tested: {plain(evidence.reason)}.", "")
    else:
        yield from ("No unit was tested.", "")
    yield from (_untested(shared, tested), "")
    if features is not None:
        yield from _selected(shared)
    yield from _controls(results, shared.recipe.languages.target)


def _untested(shared: Shared, tested: Sequence[str]) -> str:
    target = shared.recipe.languages.target
    own = {row.language for row in shared.results.corpora or ()}
    lacking = sorted({testing.language_name(code) for code in own - {*tested}})
    near = [name for name in testing.untested_relatives(target, tested) if name not in lacking]
    words = (
        "**Units are not tested against languages that the panel lacks**, and may stand for them as well as for "
        f"{target}."
    )
    if near:
        words += f" Of the close ones it lacks {plain(', '.join(near))}."
    if lacking:
        words += f" The run has text in {plain(', '.join(lacking))}, which was not tested."
    return words


def _selected(shared: Shared) -> Iterator[str]:
    features, target = shared.results.features, shared.recipe.languages.target
    assert features is not None
    noun = "latent" if len(features.units) == 1 else "latents"
    by = SELECTED_BY.get(features.rule)
    yield f"Selected by {by}: {len(features.units)} {noun}." if by else "No latent passes."
    order = [target, shared.recipe.languages.reference, *shared.recipe.languages.others]
    codes = [code for code in order if code in features.tokens]
    rows = [
        (
            unit.unit,
            *(f"{100 * unit.rate[code]:.1f} %" if code in unit.rate else None for code in codes),
            None if unit.sentence_auroc is None else f"{unit.sentence_auroc:.3f}",
            None if unit.q_value is None else f"{unit.q_value:.3g}",
        )
        for unit in features.units[:_UNITS]
    ]
    if rows:
        more = len(features.units) - len(rows)
        yield (
            f"Firing rate by language; the least AUROC of {target} over another language, and its q-value."
            + (f" {more} more are in `results.json`." if more else "")
        )
        yield from ("", *table(("Latent", *codes, "AUROC", "q"), rows))
    yield ""


def _loss(each: SwitchedSet, code: str | None) -> str:
    change = each.change[str(code)]
    return _of(change.delta, change.low, change.high, digits=3)


def _controls(results: Results, target: str) -> Iterator[str]:
    """Controls: what passes and costs without training, and what sets without an autoencoder cost."""
    base = results.baselines
    if base is None or base.reason is not None:
        return
    passing: dict[str, list[str]] = {}
    for own in base.autoencoders:
        passing.setdefault(own.group, []).append(str(own.passing))
    yield from ("### Controls", "")
    counts = "; ".join(f"{plain(group)} {', '.join(each)}" for group, each in passing.items())
    yield from (f"Units that pass the same tests, by seed: {counts}.", "")
    # of each group the largest set, by its first seed
    sets: dict[str, SwitchedSet] = {}
    for each in base.sets:
        if each.is_off(target):
            before = sets.get(each.group)
            if before is None or each.size > before.size:
                sets[each.group] = each
    rows = [
        (
            plain(each.group),
            str(each.size),
            _loss(each, target),
            f"{each.nearest} {_loss(each, each.nearest)}",
        )
        for each in sets.values()
    ]
    yield from (
        *table(
            ("Switched off", "Units", f"Rise in {target}, nats a token", "Most of the other languages"), rows
        ),
        "",
    )
    for row in base.differences:
        what = "the target's rise" if row.what == "target" else "that less the nearest language's"
        yield (
            f"- {row.size} trained latents against as many untrained ones, {what}: "
            f"{_of(row.difference, row.low, row.high)} nats a token more."
        )
    yield ""


def _selectivity(results: Results, target: str) -> Iterator[str]:
    """What turning the selected latents down costs other languages, error-preserving, on text of `test`."""
    every = results.next_token.selectivity if results.next_token else []
    own = [row for row in every if row.units == target and row.text == "test" and not row.splice]
    edit = next((name for name in ("set", "scale", "add") if any(row.edit == name for row in own)), None)
    rows = [row for at in _AT for row in own if row.at == at and row.edit == edit]
    if not rows:
        return
    how = {"set": "fixing the selected latents at falling values", "scale": "shrinking the selected latents"}
    yield from ("## Selectivity", "")
    yield (
        f"Where {how.get(str(edit), 'turning the selected latents')} has raised the loss of {target} by so many nats a "
        "token: the rise a UTF-8 byte in the target and in other languages, their difference and ratio, with 95 % "
        "intervals over sentences of `test`. `nearest` is the other language that loses most; a ratio of 1 is no "
        "selectivity."
    )
    shown = [(f"{row.at:g}", plain(row.versus), *_cells(row)) for row in rows]
    yield from ("", *table(("Rise", "Against", "Target", "Other", "Difference", "Ratio"), shown), "")


def _cells(row: Selectivity) -> tuple[str | None, ...]:
    if not row.reached:
        return None, None, "not reached", None
    return (
        _number(row.target_delta_per_byte),
        _number(row.other_delta_per_byte),
        _of(row.margin_per_byte, row.margin_per_byte_low, row.margin_per_byte_high),
        _of(row.ratio_per_byte, row.ratio_per_byte_low, row.ratio_per_byte_high, digits=2, missing="∞"),
    )


def _number(value: float | None, digits: int = 4, missing: str = "–") -> str:
    return missing if value is None else f"{value:.{digits}f}"


def _of(
    value: float | None, low: float | None, high: float | None, digits: int = 4, missing: str = "–"
) -> str:
    """A number with its interval."""
    numbers = [_number(each, digits, missing) for each in (value, low, high)]
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


def _text(shared: Shared) -> Iterator[str]:
    """The text by source, with its licence."""
    yield from ("## The text", "")
    roles: dict[str, dict[str, int]] = {}
    for row in shared.results.corpora or ():
        counts = roles.setdefault(row.name, {})
        counts[row.language] = counts.get(row.language, 0) + row.sentences
    rows = [
        (
            plain(name),
            plain(", ".join(f"{code} {count:,}" for code, count in counts.items())),
            plain(shared.licences.get(name) or "unknown: ask whoever has it"),
        )
        for name, counts in roles.items()
    ]
    yield from (*table(("Source", "Sentences", "Licence"), rows), "")


def _made(shared: Shared) -> Iterator[str]:
    """How it was made."""
    record = shared.record
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    commit = record.get("model_commit")
    yield from ("## How it was made", "")
    rows = {
        "glossae": plain(f"{record.get('glossae')}, with {versions}"),
        "Base model": plain(
            f"{shared.recipe.model}, commit {commit}" if commit else f"{shared.recipe.model}, from a folder"
        ),
        "Precision": plain(f"{record.get('dtype')} on {record.get('device')}"),
        "Seed": str(shared.results.seed),
    }
    yield from (*table(("", ""), rows.items()), "")
