"""`glossae export` writes what it says in one line, or says in one line why not."""

import json
import subprocess
import sys

import pytest
import torch

from glossae.cli import main
from glossae.sae import Quality, Sae, SaeConfig
from recorded import change_sae, record

X = torch.linspace(-2, 2, 24).reshape(4, 6)


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_model):
    """A run's folder `run` with an SAE in it, in the working folder."""
    monkeypatch.chdir(tmp_path)
    sae = Sae(SaeConfig(d_in=6, latents=10, k=3, model=str(tiny_model), site="attn.out", layer=1))
    for parameter in sae.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    sae.save(tmp_path / "run" / "sae")
    (tmp_path / "run" / "recipe.yaml").write_text("model: toy\n")
    record(tmp_path / "run", stages={"sae": {"fingerprint": "1"}})
    return sae


def printed(capsys, line):
    assert main(line.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def said(capsys, line):
    out = printed(capsys, line)
    assert out.count("\n") == 1
    return out.rstrip("\n")


def refusal(capsys, line):
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("glossae: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("glossae: ")


def change_config(folder, **changes):
    change_sae(folder / "run/sae/sae.safetensors", **changes)
    record(folder / "run")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run --to sae-lens --out out", "out: SAELens, topk, 10 latents, blocks.1.hook_attn_out"),
        ("--to sae-lens --out out run/sae", "out: SAELens, topk, 10 latents, blocks.1.hook_attn_out"),
        (
            "run/sae/sae.safetensors --out=out --to=sae-lens",
            "out: SAELens, topk, 10 latents, blocks.1.hook_attn_out",
        ),
        (
            "run --to sparsify --out out",
            "out/layers.1.attention.dense: sparsify, topk, 10 latents, layers.1.attention.dense",
        ),
        (
            "run --to sparsify --out out --hookpoint h.1.attn",
            "out/h.1.attn: sparsify, topk, 10 latents, h.1.attn",
        ),
    ],
)
def test_an_export_is_one_line_and_computes_the_same(run, capsys, line, expected):
    assert said(capsys, f"export {line}") == expected
    torch.testing.assert_close(Sae.load("out")(X), run(X))


def test_json_of_an_export(run, capsys):
    facts = json.loads(printed(capsys, "export run --to sparsify --out out --json"))
    assert facts == {
        "out": "out",
        "format": "sparsify",
        "activation": "topk",
        "latents": 10,
        "site": "attn.out",
        "layer": 1,
        "unsound": [],
    }


def test_an_export_of_an_export(run, capsys, tmp_path):
    said(capsys, "export run --to sae-lens --out a")
    # a shared file does not say where the model lies, so its modules are not known
    said(capsys, "export a --to sparsify --out b --hookpoint layers.1.attention.dense")
    said(capsys, "export b --to sae-lens --out c")
    for name in ("cfg.json", "sae_weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    Sae(SaeConfig(d_in=6, latents=10, k=3)).save(tmp_path / "bare")
    assert said(capsys, "export bare --to sparsify --out d") == "d: sparsify, topk, 10 latents, no hookpoint"


@pytest.mark.parametrize("model", ["nowhere", "./nowhere", "some/one@abc", "a/b/c", ""])
def test_a_model_that_is_not_at_hand(run, capsys, tmp_path, model):
    change_config(tmp_path, model=model)
    assert refusal(capsys, "export run --to sparsify --out out").startswith(
        "--to: which module gives attn.out is"
    )
    change_config(tmp_path, site="resid")
    assert said(capsys, "export run --to sparsify --out out").startswith("out/layers.1: ")


@pytest.mark.parametrize(("to", "place"), [("sae-lens", "out"), ("sparsify", "out/layers.1.attention.dense")])
def test_an_unsound_one_says_so_first(run, capsys, tmp_path, to, place):
    run.trained_on = "9,000 tokens of da and en from talks.tsv"
    run.quality = Quality(
        fvu={"da": 0.25},
        fvu_within={"da": 0.375},
        fvu_normalised={"da": 0.5},
        l0=3.0,
        dead_fraction=0.4,
        top_direction=0.2,
        top_tokens=0.03,
        tokens=1234,
    )
    run.save(tmp_path / "run" / "sae")
    record(tmp_path / "run")
    assert main(f"export run --to {to} --out out".split()) == 0
    finding, written = capsys.readouterr().out.splitlines()
    assert finding.startswith("unsound: 40 % of the latents are dead")
    assert written.startswith(f"{place}: ")
    card = (tmp_path / place / "README.md").read_text()
    parts = ["This autoencoder is unsound", finding.removeprefix("unsound: "), "| Model |"]
    parts += ["| attn.out, layer 1 |", f"| {run.trained_on} |", "| da | 0.250 | 0.375 | 0.500 | – |"]
    assert [card.index(part) for part in parts] == sorted(card.index(part) for part in parts)

    # exported again into the same folder, sound: the card follows
    run.quality = run.quality.model_copy(update={"dead_fraction": 0.0})
    run.save(tmp_path / "run" / "sae")
    record(tmp_path / "run")
    said(capsys, f"export run --to {to} --out out")
    assert "unsound" not in (tmp_path / place / "README.md").read_text()


def test_names_show_as_text_on_the_card(run, capsys, tmp_path):
    run.trained_on = "9 tokens from <script>a|b*c*.tsv\n# no heading"
    run.save(tmp_path / "run" / "sae")
    record(tmp_path / "run")
    said(capsys, "export run --to sae-lens --out out")
    card = (tmp_path / "out" / "README.md").read_text()
    shown = r"| Trained on | 9 tokens from &lt;script&gt;a\|b\*c\*.tsv \# no heading |"
    assert shown in card


def test_help(capsys):
    for flag in ("--help", "-h"):
        assert main(["export", flag]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("usage: glossae export PLACE --to sae-lens|sparsify|neuronpedia --out FOLDER")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export", "export: PLACE is missing: a run's folder, or an autoencoder's"),
        ("export run", "export: --to is missing: sae-lens (version 6; batch-top-k"),
        ("export run --to", "--to: needs a value"),
        ("export run --to saelens --out out", "--to: unknown format 'saelens'; did you mean 'sae-lens'? (th"),
        (
            "export run --to gemma --out out",
            "--to: unknown format 'gemma' (there are sae-lens, sparsify and neuronpedia)",
        ),
        ("export run --to sae-lens", "export: --out is missing: a folder that "),
        ("export run --to sae-lens --out=", "export: --out is missing: a folder that "),
        ("export run --to sae-lens --out a --out b", "--out: is given twice"),
        ("export run more --to sae-lens --out out", "export: unexpected 'more'"),
        ("export run --too sae-lens --out out", "unknown flag '--too'; did you mean '--to'?"),
        ("export run --format=x --out out", "unknown flag '--format'"),
        ("export run --to sae-lens --out out --hookpoint h.1", "--hookpoint: is for sparsify"),
        ("export run --to sparsify --out out --hookpoint ../x", "--hookpoint: '../x' is no module's name"),
        ("export none --to sae-lens --out out", "none: there is no such file or folder"),
        (
            "export unfinished --to sae-lens --out out",
            "unfinished: this run has no autoencoder yet: it has not",
        ),
        ("export signed --to sae-lens --out out", "--to: SAELens' top-k ends in a ReLU"),
        ("export run/recipe.yaml --to sae-lens --out out", "run/recipe.yaml: is no known autoencoder's file"),
        ("export run --to sae-lens --out run", "--out: run holds 'recipe.yaml', which is no part of a SAEL"),
        ("export run --to sae-lens --out mine", "--out: mine holds 'README.md', which is no part of"),
        ("export run --to sae-lens --out missing/../mine", "--out: missing/../mine holds 'README.md', which"),
        ("export run --to sae-lens --out run/recipe.yaml", "--out: run/recipe.yaml is a file; give a folder"),
        ("export run --to sparsify --out run/sae --hookpoint=", "--out: run/sae holds glossae's own autoen"),
        ("exprot run", "unknown command 'exprot'; did you mean 'export'?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, capsys, tmp_path, line, message):
    Sae(SaeConfig(d_in=6, latents=10, k=3, relu=False)).save(tmp_path / "signed")
    for name in ("unfinished/recipe.yaml", "mine/README.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("# Mine\n")
    record(tmp_path / "unfinished")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    assert refusal(capsys, line).startswith(message)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_the_room_of_saes_imports_with_few_packages():
    script = "import sys, glossae.sae; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"pandas", "pyarrow", "matplotlib", "sklearn", "scipy", "jinja2", "rich"}
    assert not set(done.stdout.split()) & heavy
