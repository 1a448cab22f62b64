"""The few numbers that end a run in the terminal."""

from typing import Any

_WHAT = {"target": "{}", "margin": "{} less the nearest"}


def headlines(results: dict[str, Any], target: str, reference: str) -> list[str]:
    """One line for each stage that has something to say; of the text alone, its counts."""
    lines = [f"unsound   {finding}" for finding in (results["sae"] or {}).get("unsound", [])]
    if results["corpora"] and not any(results[stage] for stage in ("probe", "grid", "sae")):
        lines += [f"corpora   {line}" for line in _counts(results["corpora"])]
    if probe := results["probe"]:
        lines.append(
            f"probe     layer {probe['layer_used']} ({probe['chosen_by']}; the rule says {probe['best_layer']})"
        )
    if grid := results["grid"]:
        lines.append(f"grid      {_grid(grid, target, reference)}")
    if sae := results["sae"]:
        # only top-k has k of every token; elsewhere k is at best what was aimed at
        sparsity = f"k {sae['k']}" if sae["activation"] == "topk" else f"L0 {sae['l0']:.1f}"
        fvu = ", ".join(f"{language} {value:.3f}" for language, value in sae["fvu"].items())
        lines.append(
            f"sae       {sae['latents']} latents, {sparsity}: FVU {fvu}; {sae['dead_fraction']:.1%} dead"
        )
    if evidence := results["evidence"]:
        lines += [f"evidence  {line}" for line in _evidence(evidence)]
    if stability := results["stability"]:
        lines += [f"stability {line}" for line in _stability(stability)]
    if features := results["features"]:
        units = ", ".join(
            f"{row['unit']} ({row['rate'][target]:.0%} {target}, {row['rate'][reference]:.1%} {reference})"
            for row in features[target]
        )
        lines.append(f"features  rule {features['rule']}: {units or 'no unit'}")
    if (baselines := results.get("baselines")) and baselines["reason"] is None:
        lines += [
            f"baselines {row['size']} latent{'s' * (row['size'] > 1)} off, {_WHAT[row['what']].format(target)}: "
            f"trained {row['trained']:+.3f}, untrained {row['untrained']:+.3f} nats "
            f"(difference {row['difference']:+.3f}, 95 % {row['low']:+.3f} to {row['high']:+.3f})"
            for row in baselines["adds"]
            if row["what"] in _WHAT
        ]
    if next_token := results["next_token"]:
        lines += [
            _selectivity(row)
            for row in next_token["selectivity"]
            if row["versus"] == reference and not row["splice"] and _headline(row, target)
        ]
        lines += [f"effects   {line}" for line in _untrained(next_token.get("chosen") or [], target)]
        lines += [f"controls  {line}" for line in _controls(next_token["controls"] or [])]
    if steering := results.get("steering"):
        lines += [f"steering  {line}" for line in _steering(steering, target)]
    return lines


def _steering(steering: dict[str, Any], target: str) -> list[str]:
    """At each KL, how often the families write the target language."""
    lines = []
    for at in steering["kl"]:
        arms = [arm for arm in steering["arms"] if arm["at"] == at]
        if arms:
            said = ", ".join(f"{arm['family']} {arm['success']:.0%}" for arm in arms)
            lines.append(f"{target} at KL {at:g}: {said}")
    return lines


def _evidence(evidence: dict[str, Any]) -> list[str]:
    if evidence["reason"] is not None:
        return [f"not tested: {evidence['reason']}"]
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in evidence["claims"]):
        claims = [row for row in evidence["claims"] if row["kind"] == kind]
        found = ", ".join(f"{row['units']} {row['claim']}" for row in claims)
        again = "".join(
            f"; {row['passed']} of {row['units']} again on {_PLACES[row['on']]}"
            for row in evidence["replication"]
            if row["kind"] == kind and row["share"] is not None and row["tokens"] == evidence["tokens"]
        )
        lines.append(f"{claims[0]['of']} {kind}s, q {evidence['q']:g}: {found}{again}")
    return lines + _identified(evidence.get("identification") or [])


def _identified(rows: list[dict[str, Any]]) -> list[str]:
    """How well sentences of most languages are told apart on the half held out, by units and by what is cheaper."""
    own = [
        row
        for row in rows
        if row["reason"] is None
        and (row["level"], row["on"], row["how"] == "largest") == ("sentence", "held_out", False)
    ]
    if not own:
        return []
    languages = max((row["set"] for row in own), key=len)
    # of each kind the row of most units, which comes last
    last = {row["by"]: row for row in own if row["set"] == languages}
    scores = ", ".join(
        f"{row['per_language']} {by}s each {row['macro_f1']:.3f}"
        if row["per_language"]
        else f"{by} {row['macro_f1']:.3f}"
        for by, row in last.items()
    )
    return [f"{' '.join(languages)} told apart, macro-F1: {scores}"]


def _stability(stability: dict[str, Any]) -> list[str]:
    if stability["reason"] is not None:
        return [f"not looked at: {stability['reason']}"]
    lines = []
    for row in stability["seeds"]:
        again = "none to look for"
        if stability["found"]:
            selected = row["selected"]
            again = (
                f"{selected['both']:.0%} of the run's {stability['found']} there again "
                f"(cosine {selected['cosine']:.0%}, correlation {selected['correlation']:.0%}), "
                f"partners of {selected['partner_found']:.0%} found too"
            )
        lines.append(f"seed {row['seed']}: {row['found']} {stability['claim']}; {again}")
    return lines


_PLACES = {"held_out": "the half held out", "replicate": "other text"}


def _grid(grid: dict[str, Any], target: str, reference: str) -> str:
    cells, number = grid["cells"], grid["chosen"]["cell"]
    if number is None:
        return f"{len(cells)} autoencoders, none chosen: {grid['chosen']['reason']}"
    cell = cells[number]
    size = f"k {cell['k']}" if cell["l1"] is None else f"L1 {cell['l1']:g}"
    kind = "tied" if cell["tied"] else "separate matrices"
    bias = "with" if cell["pre_encoder_bias"] else "without"
    fvu = ", ".join(
        f"{language} {cell['fvu'][language]:.3f}"
        for language in (target, reference)
        if language in cell["fvu"]
    )
    return (
        f"{len(cells)} autoencoders; the rule says {cell['activation']}, {size}, {kind}, {bias} pre-encoder bias: "
        f"FVU {fvu}; {cell['dead_fraction']:.1%} dead"
    )


def _headline(row: dict[str, Any], target: str) -> bool:
    """The selected latents at every damage; of what is cheaper, where it is projected, the larger."""
    if row["text"] != "test":
        return False
    if row["units"] == target:
        return bool(row["edit"] == "set")
    return bool(row["kind"] != "latent" and row["edit"] == "scale" and row["at"] == 0.3)


def _selectivity(row: dict[str, Any]) -> str:
    start = f"effects   {row['units']} +{row['at']:.1f} nats per token: "
    if not row["reached"]:
        return start + "no dose of the sweep reaches it"
    if row["ratio_per_byte"] is not None and row["ratio_per_byte_high"] is not None:
        low, high = row["ratio_per_byte_low"], row["ratio_per_byte_high"]
        ratio = f"{row['ratio_per_byte']:.1f}, 95 % {low:.1f} to {high:.1f}"
    elif row["ratio_per_byte_least"] is not None:
        # the other language's rise may be 0, so that only the lower end is known
        ratio = f"at least {row['ratio_per_byte_least']:,.1f}, one-sided 95 %"
    else:
        ratio = "without limit"
    return (
        f"{start}per byte {row['target_delta_per_byte']:+.4f}, {row['versus']} {row['other_delta_per_byte']:+.4f}, "
        f"difference {row['margin_per_byte']:+.4f} (95 % {row['margin_per_byte_low']:+.4f} to "
        f"{row['margin_per_byte_high']:+.4f}), ratio {ratio}"
    )


def _untrained(rows: list[dict[str, Any]], target: str) -> list[str]:
    """How many latents pass the run's rule, with training and without."""
    own = [row for row in rows if row["language"] == target and row["passing"] is not None]
    trained = [row for row in own if row["seed"] is None]
    untrained = [str(row["passing"]) for row in own if row["seed"] is not None]
    if not trained or not untrained:
        return []
    return [
        f"{row['passing']} of {row['of']} latents pass the rule '{row['asked']}'; untrained, by the same rule on the "
        f"same text: {', '.join(untrained)}"
        for row in trained
    ]


def _controls(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each set, edit and drawn control: every statistic, and the set's rank among the draws."""
    found: dict[tuple[str, str, int, str], list[str]] = {}
    for row in rows:
        if row["rank"] is not None:
            said = f"{row['statistic']} {row['observed']:+.4f}, rank {row['rank']:,} of {row['draws'] + 1:,}"
            key = (row["units"], row["edit"], row["draws"], row["control"])
            found.setdefault(key, []).append(said)
    return [
        f"{units} {edit} against {draws:,} {control}, nats per byte: {'; '.join(said)}"
        for (units, edit, draws, control), said in found.items()
    ]


def _counts(rows: list[dict[str, Any]]) -> list[str]:
    """What each role has of each language, its sources together."""
    lines = []
    for role in dict.fromkeys(row["role"] for row in rows):
        own = [row for row in rows if row["role"] == role]
        counts = []
        for language in dict.fromkeys(row["language"] for row in own):
            sentences, tokens = (
                sum(row[what] for row in own if row["language"] == language)
                for what in ("sentences", "tokens")
            )
            counts.append(f"{language} {sentences:,} sentences, {tokens:,} tokens")
        lines.append(f"{role}: {'; '.join(counts)}")
    return lines
