"""What training adds: units of trained and untrained autoencoders by one rule, and of what needs neither."""

from glossae.report.blocks import Block, Cell, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import NO_BREAK, language_name, listed, number, plural, signed, whole

_PLACES = {"held_out": "half held out", "replicate": "other text"}


def baselines_section(files: RunFiles) -> Section:
    """The verdict, the autoencoders, and the sets that were switched off."""
    return Section("baselines", "What training adds", "not in the paper", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    found = files.section("baselines")
    if found is None:
        return [
            not_run("Untrained autoencoders, coordinates, directions and LAPE neurons (baselines.untrained)")
        ]
    if found["reason"] is not None:
        return [Paragraph(f"Nothing was compared: {found['reason']}.", "absent")]
    return [
        Paragraph(what_training_adds(files), "finding"),
        _autoencoders(found),
        _difference(found, language_name(files.target)),
        _sets(found, files, None),
        *([_sets(found, files, "at")] if any(row["at"] is not None for row in found["sets"]) else []),
    ]


def what_training_adds(files: RunFiles) -> str:
    """One verdict: what a trained autoencoder's units do that an untrained one's do not; empty without baselines."""
    found = files.section("baselines")
    if found is None or found["reason"] is not None:
        return ""
    target = language_name(files.target)
    rows = [row for row in found["adds"] if row["what"] in ("target", "margin")]
    better = [row for row in rows if row["low"] > 0]
    worse = [row for row in rows if row["high"] < 0]
    passing = {
        group: [row["passing"] for row in found["autoencoders"] if row["group"] == group]
        for group in ("trained", "untrained")
    }
    counts = _own_set(files, found) + (
        f"{_range(passing['trained'])} latents of the trained and {_range(passing['untrained'])} of untrained "
        f"autoencoders pass the same test on the same text."
    )
    if not better:
        nothing = (
            f"The layer tells {target}; the autoencoder adds nothing that an untrained one lacks: at no size does "
            f"switching its latents off cost {target}, or {target} more than the nearest other language, more than "
            f"switching off an untrained one's."
        )
        if worse:
            nothing += f" In trained ones {_each(worse, 'less')}"
        return f"{nothing} {counts}"
    but = f" But {_each(worse, 'less')}" if worse else ""
    return f"Training adds to what the latents do: {_each(better, 'more')}{but} {counts}"


def _own_set(files: RunFiles, found: Row) -> str:
    """What the run's own best latents cost the target and the nearest language, switched off."""
    own = [
        row
        for row in found["sets"]
        if (row["group"], row["seed"], row["at"]) == ("trained", files.recipe.seed, None)
    ]
    if not own or own[-1]["nearest"] is None:
        return ""
    row = own[-1]
    change, nearest = row["change"], row["nearest"]
    return (
        f"Switched off, the {plural(row['size'], 'latent')} furthest from every other language cost "
        f"{language_name(files.target)} {signed(change[files.target]['delta'], 3)} nats a token, and the language that "
        f"loses most besides, {language_name(nearest)}, {signed(change[nearest]['delta'], 3)}. "
    )


def _each(rows: list[Row], word: str) -> str:
    """The difference at the largest size, of each kind that there is; the table has all."""
    words = {"target": "costs the target", "margin": "costs the target, less the nearest language,"}
    largest = {row["what"]: row for row in sorted(rows, key=lambda row: row["size"])}
    parts = [
        f"switching off {plural(row['size'], 'latent')} {words[what]} {number(abs(row['difference']), 3)} nats a token "
        f"{word} (95{NO_BREAK}% {signed(row['low'], 3)} to {signed(row['high'], 3)})"
        for what, row in largest.items()
    ]
    return f"{'; '.join(parts)}."


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return whole(low) if low == high else f"{whole(low)} to {whole(high)}"


def _autoencoders(found: Row) -> Table:
    places = list(found["autoencoders"][0]["again"])
    languages = sorted({code for row in found["autoencoders"] for code in row["fvu"] or {}})
    return Table(
        "One rule for all",
        f"Passing: units that pass the run's test (AUROC over {number(found['minimum'], 2)} against "
        f"{listed([language_name(code) for code in found['outside']])}, q {found['q']:g}) on the half that is "
        "searched; paper: latents that pass the paper's rule there. Least AUROC: of the best unit, over the nearest of "
        "these, there and on other text, and beside it that over a language that was left aside; above: how many of "
        "the first units are above the minimum on it. Stable: the share of the first units that have a latent with a "
        "decoder cosine of 0.7 in the group's other seeds. Untrained: the weights as training starts.",
        (
            "Units",
            "seed",
            "of",
            "passing",
            "paper",
            "least AUROC",
            *(Cell(_PLACES[place], "least AUROC; above") for place in places),
            "stable",
            *(f"FVU {code}" for code in languages),
        ),
        [
            (
                row["group"],
                str(row["seed"]),
                whole(row["units"]),
                whole(row["passing"]),
                "–" if row["paper"] is None else whole(row["paper"]),
                number(row["weakest"], 3),
                *(
                    Cell(
                        number(row["again"][place]["best"], 3),
                        "; ".join(
                            [
                                f"{row['again'][place]['above']} of {row['again'][place]['of']}",
                                *(
                                    f"{code} {number(value, 2)}"
                                    for code, value in row["again"][place]["auroc"].items()
                                    if code not in found["outside"]
                                ),
                            ]
                        ),
                    )
                    for place in places
                ),
                "–" if row["stable"] is None else number(row["stable"], 2),
                *("–" if row["fvu"] is None else number(row["fvu"].get(code), 2) for code in languages),
            )
            for row in found["autoencoders"]
        ],
        words=2,
    )


def _difference(found: Row, target: str) -> Table:
    rows = [row for row in found["adds"] if row["what"] != "units"]
    words = {"target": f"rise of {target}", "margin": f"rise of {target} less the nearest language's"}
    carried = next(row for row in found["adds"] if row["what"] == "units")
    seeds = " and ".join(map(str, rows[0]["seeds"])) if rows else ""
    return Table(
        "Trained less untrained",
        "Latents switched off, nats a token, mean over seeds; intervals over sentences and seeds together "
        f"({seeds} seeds). Of the sizes, {_listed(carried['trained'])} (trained) and {_listed(carried['untrained'])} "
        "(untrained) latents carry 90 % of what the largest set does, seed by seed.",
        ("What", "latents", "trained", "untrained", "difference"),
        [
            (
                words[row["what"]],
                whole(row["size"]),
                signed(row["trained"], 3),
                signed(row["untrained"], 3),
                Cell(signed(row["difference"], 3), f"{signed(row['low'], 3)} to {signed(row['high'], 3)}"),
            )
            for row in rows
        ],
    )


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _sets(found: Row, files: RunFiles, at: str | None) -> Table:
    languages = [code for code in files.languages if code in found["measured"]]
    languages += [code for code in found["measured"] if code not in languages]
    measured = "; ".join(
        f"{language_name(code)} {whole(found['measured'][code]['sentences'])} sentences, loss "
        f"{number(found['measured'][code]['loss'], 2)}"
        for code in languages
    )
    rows = [row for row in found["sets"] if (row["at"] is None) is (at is None)]
    how = (
        "Latents at 0, error-preserving; coordinates at their mean over the other languages; directions projected to "
        "it; LAPE neurons of all layers at 0."
        if at is None
        else f"Turned down until {language_name(files.target)} on tune has risen by so much: latents to (1 - dose) "
        "times their own value, coordinates and directions by dose times the way to the other languages' mean."
    )
    return Table(
        "Switched off" if at is None else "At the same damage",
        f"{how} Change of loss, nats a token, on test, with 95 % intervals over sentences; below it nats a byte. "
        f"Measured on: {measured}.",
        (
            "Units",
            "seed",
            "size",
            *(() if at is None else ("at", "dose")),
            *(language_name(code) for code in languages),
        ),
        [
            (
                row["group"],
                str(row["seed"]),
                whole(row["size"]),
                *(() if at is None else (number(row["at"], 1), number(row["dose"], 2))),
                *(_change(row["change"][code]) for code in languages),
            )
            for row in rows
        ],
        words=2,
    )


def _change(change: Row) -> Cell:
    return Cell(
        signed(change["delta"], 3),
        f"{signed(change['low'], 3)} to {signed(change['high'], 3)}; {signed(change['per_byte'], 4)}",
    )
