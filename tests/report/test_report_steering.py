"""The section on steering says what the arms say, escapes what was written, and says what is missing."""

import html
import re
from pathlib import Path

from fabricated_run import change_results, fabricate

from glossae.report import write_report

FAMILIES = (("latents_add", "latent", "add", 0.41), ("means_project", "direction", "project_out", 0.35))


def arm(family: str = "raw", **changes) -> dict:
    return {
        "family": family,
        "kind": None,
        "operation": None,
        "units": 0,
        "value": None,
        "at": None,
        "kl": 0.0,
        "kl_low": 0.0,
        "kl_high": 0.0,
        "agreement": 1.0,
        "success": 0.01,
        "success_low": 0.0,
        "success_high": 0.03,
        "repetition": 0.1,
        "repetition_low": 0.05,
        "repetition_high": 0.15,
        "distinct_1": 0.4,
        "distinct_2": 0.7,
        "loss": 2.0,
        "loss_low": 1.9,
        "loss_high": 2.1,
        "tokens": 20.0,
        "shares": {"ngrams": {"da": 0.01, "en": 0.99}, "lingua": {"en": 1.0}, "both": {"en": 0.99}},
        "on_front": False,
    } | changes


def steering(**changes) -> dict:
    arms = [arm()]
    for family, kind, operation, success in FAMILIES:
        own = {"kind": kind, "operation": operation, "units": 1}
        arms.append(arm(family, **own, value=2.0, kl=0.04, success=0.0))
        arms.append(arm(family, **own, value=9.16, at=1.0, kl=1.002, success=success, on_front=success > 0.4))
    return {
        "arms": arms,
        "families": [
            {"family": family, "kind": kind, "operation": operation, "units": ["x"], "unreached": []}
            for family, kind, operation, _ in FAMILIES
        ],
        "left_out": [],
        "kl": [1.0],
        "prompts": {"paper": 4, "test": 200, "tokens": 8},
        "kl_text": {"sentences": 200, "tokens": 5123},
        "identifiers": {
            "ngrams": ["da", "en"],
            "lingua": {"version": "2.1", "languages": ["da", "en", "nb"]},
        },
        "examples": [
            {"prompt": "Once <b>", "family": "raw", "value": None, "at": None, "text": "", "language": None},
            {
                "prompt": "Once <b>",
                "family": "means_project",
                "value": 9.16,
                "at": 1.0,
                "text": "<script>alert(1)</script> & så \x00",
                "language": "da",
            },
        ],
    } | changes


def html_of(folder: Path, **changes) -> str:
    fabricate(folder)
    change_results(folder, steering=steering(**changes))
    write_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).replace("\N{MINUS SIGN}", "-")


def test_the_finding_names_the_best_and_the_others(tmp_path):
    page = plain(html_of(tmp_path))
    assert (
        "Raw, 1 % of the continuations are Danish. At a KL of 1 nats a token 41 % of the continuations are Danish with "
        "the selected latents, added, against difference of means, projected to 35 %."
    ) in page
    assert "200 prompts are the first 8 tokens of English sentences of test, 4 more are the paper's." in page
    assert (
        "Two identifiers have to agree: lingua 2.1, choosing among Danish, English and Norwegian Bokmål"
        in page
    )


def test_a_table_has_a_row_for_every_arm(tmp_path):
    page = html_of(tmp_path)
    for label, rows in (("Steering at the same KL", 3), ("Steering at every dose", 3)):
        table = re.search(rf"{label}.*?</table>", page, re.S).group(0)
        assert table.count("<tr") - 1 == rows, label
    matched = plain(re.search(r"Steering at the same KL.*?</table>", page, re.S).group(0))
    assert "selected latents, added 1.00 9.16 41 %" in matched


def test_what_a_model_writes_is_text_and_no_markup(tmp_path):
    page = html_of(tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; så \N{REPLACEMENT CHARACTER}" in page
    assert "Once &lt;b&gt;" in page
    assert "(nothing)" in page


def test_what_is_missing_is_said(tmp_path):
    alone = {"ngrams": ["da", "en"], "lingua": None}
    arms = [a | {"shares": {"ngrams": {"da": 0.5}, "lingua": None, "both": None}} for a in steering()["arms"]]
    families = [family | {"unreached": [1.0]} for family in steering()["families"]]
    page = plain(html_of(tmp_path, identifiers=alone, arms=arms, families=families, left_out=["latents_set"]))
    assert "lingua is not installed (extra lid), so that one identifier decides" in page
    assert "Danish by lingua" not in page
    assert "There are no units to steer by: selected latents, set." in page
    assert "The selected latents, added: no dose has a KL of 1." in page
    assert "no Norwegian or Swedish text in train or select, so that the n-grams take both for Danish" in page


def test_without_a_matched_arm_the_raw_model_is_all_there_is_to_say(tmp_path):
    arms = [a for a in steering()["arms"] if a["at"] is None]
    page = plain(html_of(tmp_path, arms=arms))
    assert (
        "No family comes to a KL at which it could be compared; raw, 1 % of the continuations are Danish."
        in page
    )
