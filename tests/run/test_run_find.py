"""`glossae run find`: from a model, a language and a text to the page."""

import json

from glossae.cli import main
from glossae.recipe import load_recipe
from toy_grammar import sentences


def test_find_goes_from_one_text_to_a_page(world, tmp_path, capsys, page):
    pairs = sentences(300, seed=5)
    for code in ("da", "en", "sv"):
        (tmp_path / f"{code}.txt").write_text("".join(f"{pair[code]}\n" for pair in pairs), encoding="utf-8")
    text = f"sv={tmp_path}/sv.txt en={tmp_path}/en.txt da={tmp_path}/da.txt"
    out = tmp_path / "run"
    line = ["run", "find", "--model", str(world.model), "--target", "sv", "--text", text, "--out", str(out)]
    small = ["--sae.latents", "64", "--sae.k", "4", "--sae.batch_tokens", "256", "--probe.tokens", "1000"]
    assert main([*line, "--languages.others", "da,nb", "--quick", *small, "--quiet"]) == 0
    assert "languages.others: nb is neither tested nor measured: there is no text" in capsys.readouterr().err
    assert "</html>" in (out / "report.html").read_text(encoding="utf-8")
    results = json.loads((out / "results.json").read_text())
    sizes = {
        role: {row["language"] for row in results["corpora"] if row["role"] == role and row["sentences"]}
        for role in ("train", "select", "tune", "test", "panel")
    }
    assert all(languages == {"sv", "en", "da"} for languages in sizes.values())
    assert {row["role"] for row in results["evidence"]["panels"]} == {"panel"}
    recipe = load_recipe(out / "recipe.yaml")
    assert (recipe.languages.target, recipe.corpora.text, recipe.sae.latents) == ("sv", text, 64)
    # the same command carries on in the same folder
    assert main([*line, "--languages.others", "da,nb", "--quick", *small]) == 0
    assert "sae: done before, kept" in capsys.readouterr().err
