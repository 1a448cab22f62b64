"""Which units stand for the language, tested against every other language (the paper has no tests)."""

from glossae.reporting.blocks import Blocks, Cell, Paragraph, Table, not_run, table
from glossae.reporting.findings import PLACES
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
    span,
    whole,
)
from glossae.results import EvidenceResult, FamilyUnit, NotTested, PanelRow, Partner, ScoresResult

_MOST_UNITS = 20


def evidence_blocks(files: RunFiles) -> Blocks:
    """Claims, the units behind them, and whether they hold again."""
    evidence = files.results.evidence
    if evidence is None:
        yield not_run("Tests of units")
        return
    if isinstance(evidence, NotTested):
        yield Paragraph(f"Units were not tested: {evidence.reason}.", "absent")
        return
    yield Paragraph(_finding(evidence), "finding")
    yield Paragraph(_how(evidence))
    for panel in evidence.panels:
        yield Paragraph(_text(panel))
    yield table(
        "Claims",
        "How many units of each kind pass each claim. Family-wise: how many pass with not even one false discovery "
        "expected at that level, by the largest of randomly signed influences: another test than that of the column "
        "beside it, which may let more through.",
        [
            {
                "Units": f"{row.kind}s",
                "Claim": row.claim,
                "told from": language_list(row.outside),
                "of": whole(row.of),
                "pass": whole(row.units),
                "family-wise": whole(row.family_wise),
            }
            for row in evidence.claims
        ],
        words=3,
    )
    yield from _again(evidence)
    yield from _within_source(files, evidence)
    for kind in dict.fromkeys(row.kind for row in evidence.units):
        yield _units(files, kind, [row for row in evidence.units if row.kind == kind])
    yield from other_seeds(files)
    if evidence.scores:
        yield from score_blocks(evidence.scores)


def _finding(evidence: EvidenceResult) -> str:
    first = {row.kind: row for row in reversed(evidence.claims)}
    kinds = dict.fromkeys(row.kind for row in evidence.claims)
    parts = [f"{whole(first[kind].units)} of {whole(first[kind].of)} {kind}s" for kind in kinds]
    claim = evidence.claims[0]
    words = (
        f"{capital(listed(parts))} pass as {claim.claim}: told from {language_list(claim.outside)}, each by "
        "itself."
    )
    random = [row for row in evidence.units if row.selected and row.label.startswith("random ")]
    if random:
        words += (
            f" {capital(counted(len(random)))} of these directions {'is' if len(random) == 1 else 'are'} random: "
            "in this model a direction drawn by chance can tell the language."
        )
    if claim.same:
        words += (
            f" With these languages alone that is the same claim as {listed(claim.same)}: "
            "nothing here says which it is."
        )
    return words


def _how(evidence: EvidenceResult) -> str:
    method = (
        "by a bound that holds for any number of sentences and any distribution"
        if evidence.method == "exact"
        else "by the studentised logit, which is close to normal"
    )
    passages = (
        f" Sentences were joined into passages of {whole(evidence.tokens)} tokens or more, "
        "which are ranked instead."
        if evidence.tokens > 1
        else ""
    )
    return (
        f"The null is not “no difference”, which thousands of sentences refute for nearly every unit, but a sentence "
        f"AUROC of at most {evidence.minimum:g}: how often a random sentence of one language has a larger mean "
        f"value than a random one of the other. P-values are found {method}; for a claim the largest over its "
        f"comparisons counts; false discoveries are held at {evidence.q:g} over all units of a kind (Benjamini and "
        "Hochberg 1995). Sentences are the units of sampling; translations of each other, and the "
        f"sentences of a document where documents are told, count as one.{passages}"
    )


def _text(panel: PanelRow) -> str:
    def counts(of: dict[str, int]) -> str:
        return listed([f"{whole(count)} {language_name(code)}" for code, count in of.items()])

    role = panel.role if panel.source is None else f"{panel.source} in {panel.role}"
    sizes = listed(
        [
            " and ".join(whole(size) for size in halves if size) + f" {language_name(code)}"
            for code, halves in panel.sentences.items()
        ]
    )
    words = (
        f"Text: {role}; sentences to find units on and held out: {sizes}."
        if any(found for found, _ in panel.sentences.values())
        else f"Text to test again on: {role}; sentences: {sizes}."
    )
    if doubtful := {code: count for code, count in panel.ambiguous.items() if count}:
        words += f" By their words {counts(doubtful)} sentences could be in another of the languages too."
    if few := panel.too_few:
        words += f" {counts(few)} sentences are too few for a test and were left out."
    if panel.identical:
        words += f" {whole(panel.identical)} texts stood in two languages and were left out."
    return words


def _again(evidence: EvidenceResult) -> Blocks:
    rows = evidence.replication
    yield table(
        "Replication",
        "Of the units that were found, those that pass the same test again on text that was not opened before, "
        "sentence by sentence or joined into passages. A mean over few tokens varies more, so what passes in "
        "passages only is kept from passing by short sentences.",
        [
            {
                "Units": f"{row.kind}s",
                "on": PLACES[row.on],
                "ranked": "sentences"
                if row.tokens == 1
                else f"passages of {whole(row.tokens)} tokens or more",
                "found": whole(row.units),
                "pass again": whole(row.passed),
                "share": Cell(percent(row.share), interval(row.low, row.high, 0, percent)),
            }
            for row in rows
        ],
        words=3,
    )
    for note in dict.fromkeys(row.reason for row in rows if row.reason):
        yield Paragraph(f"{capital(note)}.", "note")


def _within_source(files: RunFiles, evidence: EvidenceResult) -> Blocks:
    """Whether the units tell the language or the source."""
    found = evidence.within_source
    target = language_name(files.target)
    for each in found.apart:
        if each.reason is not None:
            yield Paragraph(
                f"Source and language go together in {PLACES[each.on]} ({each.reason}): a unit that passes there "
                "may tell the source. Text of one source in every language would say.",
                "warning",
            )
    confused = [
        f"{whole(row.told)} of {whole(row.units)} {row.kind}s, {row.source} from {row.other_source}"
        for row in found.rows
        if row.versus is None and row.told
    ]
    if confused:
        yield Paragraph(
            f"Some units tell {target} of one source from {target} of another at an AUROC of "
            f"{evidence.minimum:g} or more: {'; '.join(confused)}. These may be the source's.",
            "warning",
        )
    if found.rows:
        yield table(
            "Within one source",
            f"AUROC of the units found, on text they were not found on: {target} over each other language inside "
            f"one source; and {target} of one source over {target} of another, where a unit of the language has "
            f".5. Told: units at {evidence.minimum:g} or more, for two sources in either direction.",
            [
                {
                    "Units": f"{whole(row.units)} {row.kind}s",
                    "Source": row.source,
                    "Versus": language_name(row.versus) if row.versus else row.other_source or "",
                    "Least": number(row.least),
                    "Median": number(row.median),
                    "Most": number(row.most),
                    "Told": whole(row.told),
                }
                for row in found.rows
            ],
            words=3,
        )


def _units(files: RunFiles, kind: str, units: list[FamilyUnit]) -> Table:
    def auroc(unit: FamilyUnit, code: str) -> Cell:
        later = unit.again.get("held_out")
        best = unit if later is None or code not in later.auroc else later
        low, high = best.interval[code]
        return Cell(number(best.auroc[code]), interval(low, high, 2))

    def q(unit: FamilyUnit) -> str:
        value = next(iter(unit.q.values()))
        return number(value) if value >= 0.001 else f"{value:.0e}"

    more = f" The first {_MOST_UNITS}." if len(units) > _MOST_UNITS else ""
    return table(
        f"{capital(kind)}s",
        f"AUROC of {language_name(files.target)} over each language on the held-out half, with 95 % intervals, "
        f"where the unit was found; else on the half that was searched, where it is the closest.{more}",
        [
            {
                capital(kind): unit.label.removeprefix(f"{kind} "),
                "passes as": unit.name or "–",
                "also fires on": language_list(unit.fires_on) if unit.fires_on else "–",
                "q": q(unit),
                **{f"over {language_name(code)}": auroc(unit, code) for code in units[0].auroc},
            }
            for unit in units[:_MOST_UNITS]
        ],
        words=3,
    )


# ---- autoencoders of other seeds (the paper trained one)


def other_seeds(files: RunFiles) -> Blocks:
    """How much of what was found, and of all that fires, is there again; and unit by unit."""
    stability = files.results.stability
    if stability is None:
        yield not_run("Autoencoders of other seeds (evidence.seeds)")
        return
    if isinstance(stability, NotTested):
        yield Paragraph(f"Other seeds were not looked at: {stability.reason}.", "absent")
        return
    seeds, units, found = stability.seeds, stability.units[:_MOST_UNITS], stability.found
    same = f"{stability.same:g}"
    if found:
        both = _shares([row.selected.both for row in seeds])
        partner_found = _shares([row.selected.partner_found for row in seeds])
        trained = "an autoencoder" if len(seeds) == 1 else f"{counted(len(seeds))} autoencoders"
        yield Paragraph(
            f"Of the {plural(found, 'latent')} found as {stability.claim}, {both} are there again in {trained} "
            f"trained with another seed: a latent there has both a cosine and a correlation of at least {same}. Of all "
            f"latents that fire {_shares([row.firing.both for row in seeds])} are. The partners of "
            f"{partner_found} pass the same test there.",
            "finding",
        )
    yield table(
        "Other seeds",
        "Autoencoders trained on the same text with other first weights and in another order. Cosine: the share of "
        f"latents for which one there has a decoder row at a cosine of at least {same}. Correlation: for which one "
        f"there has at least that correlation, over {whole(stability.tokens)} tokens of the half held out (for all "
        "that fire, among the nearest by cosine only). Both: in one and the same. One to one: the same where no two "
        "have one partner. Partner found: that partner passes the test there, on the text on which the run's were "
        "found; closest found: the one that correlates most does. "
        f"For comparison: about 30{NO_BREAK}% of 131{NO_BREAK}072 latents on an MLP of Llama 3 8B were shared "
        "by two seeds (Paulo and Belrose 2025, by the cosines of encoder and decoder).",
        [
            {
                "Seed": str(row.seed),
                "latents": words,
                "of": whole(shares.of),
                "cosine": percent(shares.cosine),
                "correlation": percent(shares.correlation),
                "both": percent(shares.both),
                "one to one": percent(own.one_to_one if own else None),
                "partner found": percent(own.partner_found if own else None),
                "closest found": percent(own.correlate_found if own else None),
                "found there": whole(row.found) if own else "–",
            }
            for row in seeds
            for shares, own, words in (
                (row.selected, row.selected, stability.claim),
                (row.firing, None, "all that fire"),
            )
        ],
        words=2,
    )
    if units:
        more = f" The first {_MOST_UNITS}." if found > _MOST_UNITS else ""
        yield Table(
            "Partners",
            "Each unit's partner, one to one by cosine, with the cosine and below it the correlation; last, in which "
            f"seeds both are large enough.{more}",
            ("Latent", *(f"seed {row.seed}" for row in seeds), "again in"),
            [
                (
                    unit.label.removeprefix("latent "),
                    *(_partner(row) for row in unit.seeds),
                    listed([str(row.seed) for row in unit.seeds if row.again] or ["none"]),
                )
                for unit in units
            ],
        )


def _shares(shares: list[float | None]) -> str:
    known = sorted(share for share in shares if share is not None)
    return span(percent(known[0]), percent(known[-1])) if known else "none"


def _partner(row: Partner) -> Cell:
    if row.partner < 0:
        return Cell("–")
    return Cell(
        f"{row.partner}: {number(row.partner_cosine, 2)}",
        f"{number(row.partner_correlation, 2)}{', found' if row.partner_found else ''}",
    )


# ---- other scores


def score_blocks(scores: ScoresResult) -> Blocks:
    """How far the field's scores agree, and which of the selected latents LangFIR's filter would throw out."""
    names = [name.replace("_", " ") for name in scores.names]
    if names:
        yield table(
            "Agreement of scores",
            f"Spearman's rank correlation of the field's scores over the {whole(scores.compared)} latents that fire "
            f"more on the target than on any other language; below it, the share of the {scores.top} best that two "
            "scores have in common.",
            [
                {"Score": name}
                | {
                    other: Cell(number(value, 2), percent(shared))
                    for other, value, shared in zip(names, values, shares, strict=True)
                }
                for name, values, shares in zip(names, scores.spearman, scores.shared, strict=True)
            ],
        )
    found, units = scores.random_tokens, scores.random_tokens.units
    if not units:
        return
    kept, random = sum(unit.kept for unit in units), sum(unit.on_random for unit in units)
    yield Paragraph(
        f"Of {plural(len(units), 'selected latent')} the random-token filter (LangFIR, arXiv 2604.03532) would "
        f"keep {whole(kept)}; {whole(random)} fire on more than {percent(found.max_random)} of random tokens, "
        f"and {whole(len(units) - kept - random)} only on fewer than {percent(found.min_rate)} of the target's."
    )
    yield table(
        "Random tokens",
        "The share of tokens on which each selected latent fires: of the target's text, and of "
        f"{whole(found.tokens)} tokens drawn at random from the vocabulary.",
        [
            {
                "Latent": str(unit.unit),
                "filter": "keeps" if unit.kept else "throws out",
                "target": percent(unit.rate),
                "random": percent(unit.random_rate),
            }
            for unit in units
        ],
        words=2,
    )
