"""Which units stand for the language, tested against every other; close languages; languages told apart."""

from collections.abc import Iterator, Sequence
from typing import Any

from glossae.reporting.exhibits import Cell, Exhibit, Missing, Note, est, num, table
from glossae.reporting.reading import RunFiles
from glossae.reporting.verdict import PLACES
from glossae.reporting.wording import (
    capital,
    language_list,
    language_name,
    listed,
    number,
    percent,
    plural,
    whole,
)
from glossae.results import (
    EvidenceResult,
    FamilyUnit,
    IdentificationRow,
    NotTested,
    Partner,
    ScoresResult,
)

_MOST_UNITS = 20


def evidence(files: RunFiles) -> Iterator[Exhibit]:
    """Claims, the units behind them, and whether they hold again."""
    found = files.results.evidence
    if found is None or isinstance(found, NotTested):
        yield Missing("tests of units", found.reason if found else "", "evidence")
        return
    exact = "a bound that holds for any number of sentences and any distribution"
    yield table(
        "Claims",
        found.claims,
        "Units=kind s; Claim=claim; told from=outside langs; the same as=same list; of=of; pass=units; "
        "family-wise=family_wise",
        minimum=f"{found.minimum:g}",
        q=f"{found.q:g}",
        method=exact if found.method == "exact" else "the studentised logit, which is close to normal",
        joined=f" Sentences are joined into passages of {found.tokens} tokens or more."
        if found.tokens > 1
        else "",
    )
    yield table(
        "Replication",
        [dict(row) | {"text": PLACES[row.on], "why": row.reason or "–"} for row in found.replication],
        "Units=kind s; on=text; passages of tokens=tokens; found=units; pass again=passed; share=share[low,high] %0; "
        "note=why",
    )
    yield table(
        "Text of the tests",
        [
            {
                "Text": panel.role if panel.source is None else f"{panel.source} in {panel.role}",
                "Language": language_name(code),
                "Found on": halves[0],
                "Held out": halves[1],
                "Doubtful": panel.ambiguous.get(code, 0),
                "Too few": panel.too_few.get(code, 0),
                "Identical": panel.identical,
            }
            for panel in found.panels
            for code, halves in panel.sentences.items()
        ],
    )
    for each in found.within_source.apart:
        if each.reason is not None:
            yield Note(
                f"Source and language go together in {PLACES[each.on]} ({each.reason}): a unit that passes there may "
                "tell the source. Text of one source in every language would say."
            )
    if found.within_source.rows:
        yield table(
            "Within one source",
            [
                dict(row)
                | {"what": f"{row.units} {row.kind}s"}
                | {"over": language_name(row.versus or "") or row.other_source}
                for row in found.within_source.rows
            ],
            "Units=what; Source=source; Versus=over; Least=least; Median=median; Most=most; Told=told",
            minimum=f"{found.minimum:g}",
        )
    for kind in dict.fromkeys(row.kind for row in found.units):
        units = [row for row in found.units if row.kind == kind]
        yield table(
            f"{capital(kind)}s",
            [_unit(files, unit) for unit in units[:_MOST_UNITS]],
            key="tested-units",
            first=_first(len(units)),
        )
    above = {(row.kind, row.unit) for row in found.units}
    others = [
        row for row in files.results.dashboards or [] if row.passes and (row.kind, row.unit) not in above
    ]
    if others:
        yield table(
            "Other units that pass",
            [
                {"Unit": files.unit(row.kind, row.unit, row.label), "passes as": "; ".join(row.passes)}
                for row in others
            ],
        )
    yield from _other_seeds(files)
    if found.scores:
        yield from _scores(found.scores)


def _unit(files: RunFiles, unit: FamilyUnit) -> dict[str, Any]:
    later, q = unit.again.get("held_out"), next(iter(unit.q.values()))

    def auroc(code: str) -> Cell:
        best = unit if later is None or code not in later.auroc else later
        return est(best.auroc[code], *best.interval[code])

    return {
        capital(unit.kind): files.unit(unit.kind, unit.unit, unit.label.removeprefix(f"{unit.kind} ")),
        "passes as": unit.name or "–",
        "also fires on": language_list(unit.fires_on) if unit.fires_on else "–",
        "q": Cell(number(q) if q >= 0.001 else f"{q:.0e}", "", {"": q}),
        **{f"over {language_name(code)}": auroc(code) for code in unit.auroc},
    }


def _first(count: int) -> str:
    return f"The first {_MOST_UNITS} of {whole(count)}." if count > _MOST_UNITS else ""


def _other_seeds(files: RunFiles) -> Iterator[Exhibit]:
    """How much of what was found, and of all that fires, is there again; and unit by unit."""
    stability = files.results.stability
    if stability is None or isinstance(stability, NotTested):
        reason = stability.reason if stability else "--evidence.seeds 3"
        yield Missing("autoencoders of other seeds", reason, "stability")
        return
    yield table(
        "Other seeds",
        [
            dict(shares)
            | {"seed": str(row.seed), "what": words, "there": row.found if shares is row.selected else None}
            for row in stability.seeds
            for shares, words in ((row.selected, stability.claim), (row.firing, "all that fire"))
        ],
        "Seed=seed; latents=what; of=of; cosine=cosine %0; correlation=correlation %0; both=both %0; "
        "one to one=one_to_one %0; partner found=partner_found %0; closest found=correlate_found %0; found there=there",
        same=f"{stability.same:g}",
        tokens=whole(stability.tokens),
    )
    if stability.units:
        yield table(
            "Partners",
            [
                {"Latent": files.unit("latent", unit.unit, unit.label.removeprefix("latent "))}
                | {f"seed {row.seed}": _partner(row) for row in unit.seeds}
                | {"again in": listed([str(row.seed) for row in unit.seeds if row.again] or ["none"])}
                for unit in stability.units[:_MOST_UNITS]
            ],
            first=_first(stability.found),
        )


def _partner(row: Partner) -> Cell:
    if row.partner < 0:
        return Cell("–")
    below = f"{number(row.partner_correlation, 2)}{', found' if row.partner_found else ''}"
    return Cell(f"{row.partner}: {number(row.partner_cosine, 2)}", below)


def _scores(found: ScoresResult) -> Iterator[Exhibit]:
    """How far the field's scores agree, and which of the selected latents LangFIR's filter would throw out."""
    names = [name.replace("_", " ") for name in found.names]
    if names:
        rows = zip(names, found.spearman, found.shared, strict=True)
        yield table(
            "Agreement of scores",
            [
                {"Score": name}
                | {one: num(v, 2, percent(s)) for one, v, s in zip(names, values, shares, strict=True)}
                for name, values, shares in rows
            ],
            compared=whole(found.compared),
            top=found.top,
        )
    if (random := found.random_tokens).units:
        yield table(
            "Random tokens",
            [dict(unit) | {"filter": "keeps" if unit.kept else "throws out"} for unit in random.units],
            "Latent=unit; filter=filter; target=rate %0; random=random_rate %0",
            most=percent(random.max_random),
            tokens=whole(random.tokens),
            least=percent(random.min_rate),
        )


# ---- close languages


def close(files: RunFiles) -> Iterator[Exhibit]:
    """Every language over every other; matched tokenisation; sentences that could be in either of two."""
    found = files.tested
    if found is None or not found.matrix:
        reason = "no set of units was selected by a test" if found else "they need tests of units"
        yield Missing("close languages", reason, "evidence")
        return
    for row in found.matrix:
        place = {code: row.languages.index(code) for code in files.languages if code in row.languages}
        yield table(
            f"Every language over every other, {row.kind}s, {PLACES[row.on]}",
            [
                {"Language": language_name(one)}
                | {
                    f"over {language_name(other)}": None
                    if one == other
                    else est(row.auroc[here][there], row.low[here][there], row.high[here][there])
                    for other, there in place.items()
                }
                for one, here in place.items()
            ],
            key="every-language-over-every-other",
            units=plural(row.units, row.kind),
        )
    yield from _matched(files, found)
    yield from _doubtful(files, found)


_APART = "; ".join(
    f"{title}|{when}={when}.{name} +2"
    for name, title in (("tokens_per_word", "tokens per word"), ("bytes_per_token", "bytes per token"))
    for when in ("before", "after")
)


def _matched(files: RunFiles, found: EvidenceResult) -> Iterator[Exhibit]:
    if found.matched_claims:
        yield table(
            "Claims on matched sentences",
            [
                dict(row)
                | {"what": f"{row.units} {row.kind}s", "text": PLACES[row.on]}
                | {"why": "; ".join(f"{language_name(c)}: {why}" for c, why in row.left_out.items()) or "–"}
                for row in found.matched_claims
            ],
            "Units=what; on=text; Claim=claim; against=outside langs; left out=why; all=passed; "
            "matched=passed_matched; as many=passed_as_many",
        )
    for kind, on in dict.fromkeys((row.kind, row.on) for row in found.matched):
        rows = [row for row in found.matched if (row.kind, row.on) == (kind, on)]
        rows.sort(key=lambda row: files.languages.index(row.other))
        yield table(
            f"Matched on tokenisation, {kind}s, {PLACES[on]}",
            [dict(row) | {"why": row.reason or "–"} for row in rows],
            f"Against=other lang; matched=matched; of|target=found.0; of|other=found.1; {_APART}; "
            "AUROC|all=set.all.0[set.all.1,set.all.2]; AUROC|matched=set.matched.0[set.matched.1,set.matched.2]; "
            "pass|matched=passed.matched; pass|all=passed.all; pass|as many=passed.as_many; note=why",
            key="matched-on-tokenisation",
        )
        if on == "held_out":
            yield table(
                f"Each {kind} on matched sentences",
                [
                    {capital(kind): unit.label.removeprefix(f"{kind} ")}
                    | {
                        f"over {language_name(row.other)}": num(
                            row.units[place].matched[0], 3, f"all: {number(row.units[place].all[0])}"
                        )
                        for row in rows
                    }
                    for place, unit in enumerate(rows[0].units[:_MOST_UNITS])
                ],
                key="units-on-matched-sentences",
            )


def _doubtful(files: RunFiles, found: EvidenceResult) -> Iterator[Exhibit]:
    lines = [
        {
            "Text": PLACES["replicate"] if panel.role == "replicate" else "both halves",
            "Language": language_name(one),
            "could be": language_name(other),
            "sentences": pair.sentences[one],
            "doubtful": num(pair.doubtful[one], 0, percent(pair.doubtful[one] / pair.sentences[one])),
        }
        for panel in found.panels
        for pair in panel.doubtful
        for one, other in (pair.languages, pair.languages[::-1])
        if pair.doubtful[one]
    ]
    drop = files.recipe.evidence.ambiguous == "drop"
    fate = "are set aside before anything is tested" if drop else "are kept in every test above"
    if lines:
        yield table("Sentences that could be in either language", lines, fate=fate)
    if found.unambiguous:
        yield table(
            "With doubtful sentences and without",
            [
                dict(row)
                | {
                    "text": PLACES[row.on],
                    "out": " and ".join(whole(count) for count in row.left_out.values()),
                }
                for row in found.unambiguous
            ],
            "Units=kind s; on=text; over=other lang; left out=out; with=all.0[all.1,all.2]; "
            "without=without.0[without.1,without.2]",
        )


# ---- languages told apart by a few units, beside the whole activation and characters

_BY = {
    "latent": "latents",
    "neuron": "neurons",
    "activation": "the whole activation",
    "ngram": "n-grams of characters",
    "ngram so far": "n-grams of the sentence so far",
}
_TEXTS = {
    ("panel", "held_out"): "the half held out",
    ("panel", "replicate"): "other text, fitted to as before",
    ("replicate", "replicate"): "half of the other text, fitted to the rest of it",
}


def identification(files: RunFiles) -> Iterator[Exhibit]:
    """How well languages are told apart by what, where units lose, and which language is taken for which."""
    found = files.tested.identification if files.tested else []
    if not found:
        yield Missing(
            "language identification", "--evidence.identify true" if files.tested else "", "evidence"
        )
        return
    rows = [row for row in found if isinstance(row, IdentificationRow)]
    for level in ("sentence", "token"):
        for (fitted_on, on), text in _TEXTS.items():
            own = [row for row in rows if (row.level, row.fitted_on, row.on) == (level, fitted_on, on)]
            cells = {(row.set, row.by, row.how, row.per_language): _score(row) for row in own}
            sets, kinds = dict.fromkeys(key[0] for key in cells), dict.fromkeys(key[1:] for key in cells)
            if own:
                yield table(
                    f"{capital(level)}s told apart, {text}",
                    [
                        {"By": _what(*kind)} | {" ".join(s): cells.get((s, *kind)) for s in sets}
                        for kind in kinds
                    ],
                    key="told-apart",
                )
        yield from _confusion(level, rows)
    lacking = [
        {"Languages": language_list(row.set), "Why": row.reason} for row in found if row.reason is not None
    ]
    if lacking:
        yield table("Not told apart", lacking)


def _what(by: str, how: str, per_language: int | None) -> str:
    if per_language is None:
        return capital(_BY[by])
    return f"{per_language} {by}{'' if per_language == 1 else 's'} a language{', largest' if how == 'largest' else ''}"


def _score(row: IdentificationRow) -> Cell:
    late = "" if row.converged else "; not converged"
    accuracy = (row.accuracy, f"accuracy {percent(row.accuracy, 1)}{late}")
    return est(row.macro_f1, *row.macro_f1_interval, accuracy=accuracy)


def _confusion(level: str, rows: Sequence[IdentificationRow]) -> Iterator[Exhibit]:
    """What the most latents take for what, in the largest set on the half held out."""
    wanted = (level, "latent", "regression", "held_out")
    own = [row for row in rows if (row.level, row.by, row.how, row.on) == wanted]
    if not own:
        return
    row = max(own, key=lambda one: (len(one.set), one.per_language or 0))
    names = [language_name(code) or "none" for code in row.languages]
    yield table(
        f"Confusion of {level}s",
        [
            {"Language": language_name(code)} | dict(zip(names, counts, strict=True)) | {"F1": row.f1[code]}
            for code, counts in zip(row.languages, row.confusion, strict=True)
            if code in row.f1
        ],
        key="confusion",
        latents=row.per_language,
    )
