"""What training adds: units of trained and untrained autoencoders by one rule, and of what needs neither."""

from glossae.reporting.blocks import Blocks, Cell, Paragraph, Table, not_run, table
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import (
    NO_BREAK,
    interval,
    language_list,
    language_name,
    number,
    plural,
    signed,
    span,
    whole,
)
from glossae.results import Baselines, LossChange, SwitchedSet, ToldAgain, TrainingAdds

_PLACES = {"held_out": "half held out", "replicate": "other text"}


def baselines_blocks(files: RunFiles) -> Blocks:
    """The verdict, the autoencoders, and the sets that were switched off."""
    found = files.results.baselines
    if not found:
        yield not_run(
            "Untrained autoencoders, coordinates, directions and LAPE neurons (baselines.untrained)"
        )
    elif found.reason is not None:
        yield Paragraph(f"Nothing was compared: {found.reason}.", "absent")
    else:
        yield Paragraph(what_training_adds(files), "finding")
        yield _autoencoders(found)
        yield _difference(found, language_name(files.target))
        for damaged in (False, True):
            rows = [row for row in found.sets if (row.at is not None) is damaged]
            if rows or not damaged:
                yield _sets(files, found, rows, damaged)


def what_training_adds(files: RunFiles) -> str:
    """One verdict: what a trained autoencoder's units do that an untrained one's do not; empty without baselines."""
    found = files.results.baselines
    if not found or found.reason is not None:
        return ""
    target = language_name(files.target)
    better = [row for row in found.differences if row.low > 0]
    worse = [row for row in found.differences if row.high < 0]
    trained, untrained = (
        span(whole(min(passing)), whole(max(passing)))
        for group in ("trained", "untrained")
        for passing in [[row.passing for row in found.autoencoders if row.group == group]]
    )
    counts = (
        f"{_own_set(files, found)}{trained} latents of the trained and {untrained} of untrained autoencoders pass the "
        "same test on the same text."
    )
    if better:
        but = f" But {_each(worse, 'less')}" if worse else ""
        return f"Training adds to what the latents do: {_each(better, 'more')}{but} {counts}"
    nothing = (
        f"The layer tells {target}; the autoencoder adds nothing that an untrained one lacks: at no size does "
        f"switching its latents off cost {target}, or {target} more than the nearest other language, more than "
        f"switching off an untrained one's."
    )
    if worse:
        nothing += f" In trained ones {_each(worse, 'less')}"
    return f"{nothing} {counts}"


def _own_set(files: RunFiles, found: Baselines) -> str:
    """What the run's own best latents cost the target and the nearest language, switched off."""
    wanted = ("trained", files.recipe.seed, None)
    own = [row for row in found.sets if (row.group, row.seed, row.at) == wanted]
    if not own or own[-1].nearest is None:
        return ""
    change, nearest = own[-1].change, own[-1].nearest
    return (
        f"Switched off, the {plural(own[-1].size, 'latent')} furthest from every other language cost "
        f"{language_name(files.target)} {signed(change[files.target].delta)} nats a token, and the language that "
        f"loses most besides, {language_name(nearest)}, {signed(change[nearest].delta)}. "
    )


def _each(rows: list[TrainingAdds], word: str) -> str:
    """The difference at the largest size, of each kind that there is; the table has all."""
    words = {"target": "costs the target", "margin": "costs the target, less the nearest language,"}
    largest = {row.what: row for row in sorted(rows, key=lambda row: row.size)}
    parts = [
        f"switching off {plural(row.size, 'latent')} {words[what]} {number(abs(row.difference))} nats a token "
        f"{word} than with untrained weights (95{NO_BREAK}% {interval(row.low, row.high, write=signed)})"
        for what, row in largest.items()
    ]
    return f"{'; '.join(parts)}."


def _autoencoders(found: Baselines) -> Table:
    places = list(found.autoencoders[0].again)
    languages = sorted({code for row in found.autoencoders for code in row.fvu or {}})

    def again(told: ToldAgain) -> Cell:
        parts = [f"{told.above} of {told.of}"]
        parts += [f"{c} {number(value, 2)}" for c, value in told.auroc.items() if c not in found.outside]
        return Cell(number(told.best), "; ".join(parts))

    return table(
        "One rule for all",
        f"Passing: units that pass the run's test (AUROC over {number(found.minimum, 2)} against "
        f"{language_list(found.outside)}, q {found.q:g}) on the half that is "
        "searched; paper: latents that pass the paper's rule there. Least AUROC: of the best unit, over the nearest of "
        "these, there and on other text, and beside it that over a language that was left aside; above: how many of "
        "the first units are above the minimum on it. Stable: the share of the first units that have a latent with a "
        "decoder cosine of 0.7 in the group's other seeds. Untrained: the weights as training starts.",
        [
            {
                "Units": row.group,
                "seed": str(row.seed),
                "of": whole(row.units),
                "passing": whole(row.passing),
                "paper": whole(row.paper),
                "least AUROC": number(row.weakest),
                **{Cell(_PLACES[place], "least AUROC; above"): again(row.again[place]) for place in places},
                "stable": number(row.stable, 2),
                **{f"FVU {code}": number((row.fvu or {}).get(code), 2) for code in languages},
            }
            for row in found.autoencoders
        ],
        words=2,
    )


def _difference(found: Baselines, target: str) -> Table:
    rows = found.differences
    words = {"target": f"rise of {target}", "margin": f"rise of {target} less the nearest language's"}
    trained, untrained = (
        ", ".join(map(str, sizes)) for sizes in (found.carries.trained, found.carries.untrained)
    )
    seeds = " and ".join(map(str, rows[0].seeds)) if rows else ""
    return Table(
        "Trained less untrained",
        "Latents switched off, nats a token, mean over seeds; intervals over sentences and seeds together "
        f"({seeds} seeds). Of the sizes, {trained} (trained) and {untrained} "
        "(untrained) latents carry 90 % of what the largest set does, seed by seed.",
        ("What", "latents", "trained", "untrained", "difference"),
        [
            (
                words[row.what],
                whole(row.size),
                signed(row.trained),
                signed(row.untrained),
                Cell(signed(row.difference), interval(row.low, row.high, write=signed)),
            )
            for row in rows
        ],
    )


def _sets(files: RunFiles, found: Baselines, rows: list[SwitchedSet], damaged: bool) -> Table:
    """The change of every language's loss with a set switched off, or turned down to a given damage."""
    measured = found.measured
    languages = [code for code in dict.fromkeys((*files.languages, *measured)) if code in measured]
    counts = "; ".join(
        f"{language_name(code)} {whole(measured[code].sentences)} sentences, loss {number(measured[code].loss, 2)}"
        for code in languages
    )
    how = (
        f"Turned down until the {language_name(files.target)} loss on tune has risen by the nats under “at”: latents "
        "to (1 - dose) times their own value, coordinates and directions by dose times the way to the other languages' "
        "mean."
        if damaged
        else "Latents at 0, error-preserving; coordinates at their mean over the other languages; directions projected "
        "to it; LAPE neurons of all layers at 0."
    )

    def change(of: LossChange) -> Cell:
        spread = interval(of.low, of.high, write=signed)
        return Cell(signed(of.delta), f"{spread}; {signed(of.per_byte, 4)}")

    return Table(
        "At the same damage" if damaged else "Switched off",
        f"{how} Change of loss, nats a token, on test, with 95 % intervals over sentences; below it nats a byte. "
        f"Measured on: {counts}.",
        (
            "Units",
            "seed",
            "size",
            *(("at", "dose") if damaged else ()),
            *(language_name(code) for code in languages),
        ),
        [
            (
                row.group,
                str(row.seed),
                whole(row.size),
                *((number(row.at, 1), number(row.dose, 2)) if damaged else ()),
                *(change(row.change[code]) for code in languages),
            )
            for row in rows
        ],
        words=2,
    )
