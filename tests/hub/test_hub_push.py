"""Runs, autoencoders and knobs are pushed in one commit and loaded again, and what is wrong is one line."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from loopback_hub import WRITER
from test_hub_autoencoders import llama_scope
from tiny_world import PAIRS, World, write_panel

from glossae.cli import main
from glossae.effects import Knob
from glossae.run import open_run
from glossae.sae import MARK, Sae
from toy_grammar import sentences

# how sound the SAE of a random model is depends on the processor
pytestmark = pytest.mark.filterwarnings("ignore::glossae.sae.UnsoundWarning")

HOOK = re.compile(r"blocks\.\d\.hook_resid_post")


@pytest.fixture(scope="module")
def pushed_world(tmp_path_factory):
    """A world in a folder whose name is nowhere else."""
    return World(tmp_path_factory.mktemp("world") / "a-private-folder")


@pytest.fixture(scope="module")
def run(pushed_world, tmp_path_factory):
    """A finished run from text and a model by absolute paths; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert pushed_world.run_undrawn(out, corpora__panel=write_panel(pushed_world.folder)) == 0
    return out


@pytest.fixture
def mine(name):
    """The name of a repository that the token may write to, and no other test uses."""
    return name.replace("org/", "me/")


@pytest.fixture
def push(client):
    """A function that pushes with the command line and a token; gives the lines that it prints."""

    def push(run, repository, *more, **environment):
        environment = {"HF_TOKEN": WRITER} | environment
        answer = client("run", "push", str(run), repository, *more, **environment)
        assert answer["status"] == 0, client.noise
        assert client.noise == ""
        return answer["said"].splitlines()

    return push


@pytest.fixture
def refused(client, hub):
    """A function that pushes what must be refused in one line without a change on the hub; gives the line."""

    def refused(run, repository, *more, **environment):
        before = {name: dict(repo.refs) for name, repo in hub.repos.items()}
        environment = {"HF_TOKEN": WRITER} | environment
        answer = client("run", "push", str(run), repository, *more, **environment)
        assert answer["status"] == 2
        assert client.noise.startswith("glossae: ")
        assert client.noise.count("\n") == 1
        for name, refs in before.items():
            assert hub.repos[name].refs == refs
        return client.noise.removeprefix("glossae: ")

    return refused


def files_of(hub, name, revision="main"):
    repo = hub.repo(name)
    return repo.commits[repo.refs[revision]]


def metadata(card):
    """The YAML that a card begins with."""
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_a_run_is_pushed_in_one_commit_and_loads_again(hub, client, offline, push, run, pushed_world, mine):
    *_, address = push(run, mine, "--dose", "2", "--private")
    repo = hub.repo(mine)
    assert address == f"{hub.url}/{mine}/commit/{repo.refs['main']}"
    assert repo.messages == ["Push a run by glossae"]
    assert repo.private
    files = files_of(hub, mine)
    (folder,) = {name.partition("/")[0] for name in files if "/" in name}
    assert HOOK.fullmatch(folder)
    assert set(files) == {
        *(f"{folder}/{file}" for file in ("cfg.json", "sae_weights.safetensors", "glossae.json")),
        *(".gitattributes", "README.md", "knob.safetensors", "recipe.yaml", "results.json"),
    }

    ours = open_run(run).sae()
    loaded = client("sae", mine)
    assert loaded["model"] == "model"
    assert loaded["sum"] == float(ours.W_dec.sum())
    assert loaded["trained_on"] == ours.trained_on
    assert loaded["quality"] == json.loads(json.dumps(ours.quality.to_json()))
    with hub.unreachable():
        assert client("sae", mine) == loaded
    knob = client("knob", mine, str(pushed_world.model), {"revision": repo.refs["main"]})
    assert knob["dose"] == 2
    assert knob["moved"] > 0


def test_nothing_that_is_shared_names_a_folder_of_this_machine(hub, push, run, pushed_world, mine, tmp_path):
    # the run's own files have them
    assert str(pushed_world.folder) in (run / "recipe.yaml").read_text()
    push(run, mine, "--dose", "2")
    shared = dict(files_of(hub, mine))
    for library in ("sae-lens", "sparsify"):
        out = tmp_path / library
        assert main(["export", str(run), "--to", library, "--out", str(out)]) == 0
        shared |= {f"{library}/{file}": file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert main(["knob", "save", str(run), "--out", str(tmp_path / "one.safetensors"), "--dose", "2"]) == 0
    shared["knob"] = (tmp_path / "one.safetensors").read_bytes()
    assert len(shared) > 12
    for name, data in shared.items():
        for folder in (pushed_world.folder, run, Path.home(), Path.cwd(), tmp_path):
            assert f"{folder}/".encode() not in data, name
    # what is left of them
    recipe = yaml.safe_load(files_of(hub, mine)["recipe.yaml"])
    assert recipe["model"] == "model"
    assert recipe["corpora"]["train"] == "talks.tsv sv=swedish.txt"
    results = json.loads(files_of(hub, mine)["results.json"])
    assert results["model"] == "model"
    assert {cell["model"] for cell in results["probe"]["cells"]} == {"model"}


def test_the_card_says_what_was_found_against_what(hub, push, run, mine):
    push(run, mine, "--dose", "2")
    card = files_of(hub, mine)["README.md"]
    assert metadata(card) == {
        "library_name": "saelens",
        "language": ["da", "en", "sv"],
        "tags": ["glossae", "interpretability", "sparse-autoencoder"],
    }
    results, text = open_run(run).results, card.decode()
    order = [
        *(
            "# Danish units in model",
            "**No latent passes the test for Danish**, against en.",
            "## What was found",
        ),
        *("false discovery rate of 0.05", "da 200 + 200, en 200 + 200", "languages that the panel lacks"),
        "Of the close ones it lacks Norwegian Bokmål, Norwegian Nynorsk. The run has text in Swedish, which was not",
        *("## The knob", "## The autoencoder", "## The text"),
        *("| talks.tsv | da", "## Load it", "SAE.from_pretrained", "gl.Knob"),
        *("## How it was made", "torch"),
    ]
    assert [part for part in order if part not in text] == []
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert re.search(r"\| talks.tsv \| .* \| unknown: ask whoever has it \|", text)
    for claim in results.evidence.claims:
        assert f"| {claim.units} of {claim.of} |" in text
    for row in results.next_token.selectivity:
        if row.units == "da" and row.text == "test" and not row.splice and row.reached and row.edit == "set":
            assert f"{row.margin_per_byte:.4f} ({row.margin_per_byte_low:.4f} to" in text


def test_a_second_push_replaces_the_first_and_keeps_its_licence(hub, client, push, run, mine):
    push(run, mine, "--dose", "2")
    files = files_of(hub, mine)
    licensed = files["README.md"].replace(b"library_name:", b"license: cc-by-4.0\nlibrary_name:")
    hub.add(mine, {**files, "README.md": licensed, "mine.txt": "a file of their own"})
    said = push(run, mine)
    assert said[-2].startswith("no knob is pushed: --dose: is missing")
    files = files_of(hub, mine)
    assert metadata(files["README.md"])["license"] == "cc-by-4.0"
    assert "knob.safetensors" not in files
    assert "mine.txt" in files
    assert client("sae", mine)["model"] == "model"


def test_a_dry_run_asks_nobody_and_lists_the_files(hub, client, run, mine):
    hub.asked.clear()
    answer = client("run", "push", str(run), mine, "--dose", "2", "--dry-run")
    assert (answer["status"], hub.asked) == (0, [])
    listed = [line.split()[-1] for line in answer["said"].splitlines()]
    assert {"README.md", "knob.safetensors", "results.json", "recipe.yaml"} < set(listed)
    assert ("models", mine) not in hub.repos


def test_what_cannot_be_pushed_is_one_line(hub, refused, push, run, mine, name):
    no_token = refused(run, mine, HF_TOKEN=None)
    assert no_token.startswith(f"{mine}: a push needs a token that may write: log in with 'hf auth login'")
    assert "does not accept your token" in refused(run, mine, HF_TOKEN="hf_bad")
    assert refused(run, name).startswith(f"{name}: cannot be pushed: your token may not write there (403)")
    for line in ([run, "danish"], [run, "danish", "--dry-run"]):
        assert refused(*line).startswith("danish: has no owner: write OWNER/NAME")
    assert refused(run, f"{mine}@x").startswith(f"{mine}@x: give the branch as --revision")
    assert refused(run, "me/a--b").startswith("'me/a--b' is no name that a repository on the hub can have")
    absent = refused(run, mine, "--revision", "dev")
    assert absent.startswith(f"{mine}: is not on the hub yet, so it has no branch 'dev'")
    with hub.unreachable():
        assert "cannot be pushed: the hub cannot be reached" in refused(run, mine)
    assert ("models", mine) not in hub.repos

    push(run, mine)
    missing = refused(run, mine, "--revision", "dev")
    assert missing.startswith(f"{mine}: has no branch 'dev': there are main: see ")
    assert f"'hf repos branch create {mine} dev' makes it" in missing
    public = refused(run, mine, "--private")
    assert public.startswith(f"{mine}: is public, and --private makes only a new repository private")
    hub.repo(mine).meanwhile = (412, {})
    assert "somebody else changed it in the meantime (412)" in refused(run, mine, "--dose", "3")
    hub.repo(mine).meanwhile = (400, {"X-Error-Message": "a bad request"})
    assert "the hub answers 400 (" in refused(run, mine, "--dose", "3")


def test_a_repository_of_another_kind_is_left_alone(hub, refused, push, run, mine, model_files):
    hub.add(mine, {**model_files, "README.md": "---\nlicense: mit\n---\n# A model"})
    assert re.match(rf"{mine}: holds .* which glossae did not push: give another name", refused(run, mine))
    # one that was made on the web page has nothing but a licence
    hub.add(mine, {".gitattributes": "", "README.md": "---\nlicense: mit\n---\n"})
    push(run, mine)
    assert metadata(files_of(hub, mine)["README.md"])["license"] == "mit"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "sae/sae.safetensors").write_bytes(b"x"), "sae/sae.safetensors: was changed since"),
        (lambda run: (run / "features/summary.json").write_text("{}"), "features/summary.json: was changed since"),
        (
            lambda run: (run / "results.json").write_text(
                (run / "results.json").read_text().replace('"seed": 0', '"seed": 1', 1)
            ),
            "results.json: is not what the run's stages found",
        ),
        (lambda run: (run / "run.json").write_text('{"stages": {}}'), "this run has no autoencoder yet"),
        (lambda run: (run / "recipe.yaml").unlink(), "is not a run"),
    ],
)  # fmt: skip
def test_a_run_that_its_hashes_do_not_vouch_for_is_refused(hub, refused, run, mine, tmp_path, spoil, message):
    copy = shutil.copytree(run, tmp_path / "copy")
    spoil(copy)
    hub.asked.clear()
    assert message in refused(copy, mine)
    assert hub.asked == []


def test_an_autoencoder_and_a_knob_are_pushed_by_their_own_methods(
    hub, client, refusal, run, pushed_world, mine, tmp_path
):
    sae = open_run(run).sae()
    sae.save_pretrained(tmp_path / "sae")
    address = client("push", str(tmp_path / "sae"), "Sae", mine, {"private": True}, HF_TOKEN=WRITER)
    assert address == f"{hub.url}/{mine}/commit/{hub.repo(mine).refs['main']}"
    assert client("sae", mine)["sum"] == float(sae.W_dec.sum())
    assert MARK in files_of(hub, mine)["README.md"].decode()

    assert main(["knob", "save", str(run), "--out", str(tmp_path / "k.safetensors"), "--dose", "2"]) == 0
    knob = Knob.load(tmp_path / "k.safetensors")
    knob.save_pretrained(tmp_path / "knob")
    assert Knob.from_pretrained(tmp_path / "knob").hash == knob.hash
    hub.repo(mine).refs["dev"] = hub.repo(mine).refs["main"]
    client("push", str(tmp_path / "knob"), "Knob", mine, {"revision": "dev"}, HF_TOKEN=WRITER)
    answer = client("knob", mine, str(pushed_world.model), {"revision": "dev"})
    assert answer["hash"] == knob.hash
    assert metadata(files_of(hub, mine, "dev")["README.md"])["library_name"] == "glossae"
    assert "knob.safetensors" not in files_of(hub, mine)
    no_knob = refusal("knob", mine, str(pushed_world.model))
    assert no_knob == f"{mine}: has no knob.safetensors: see {hub.url}/{mine}/tree/main"
    assert "has no revision 'old'" in refusal("knob", mine, "", {"revision": "old"})


def test_one_of_several_autoencoders_of_other_libraries(hub, client, refusal, name):
    layers = [f"L{n}R-8x" for n in (23, 24)]
    hub.add(name, {f"{layer}/{file}": data for layer in layers for file, data in llama_scope().items()})
    assert client("sae", name, {"subfolder": "L24R-8x"})["layer"] == 24
    assert "there are some in L23R-8x/checkpoints" in refusal("sae", name)


def test_an_autoencoder_that_sae_lens_cannot_express_is_pushed_as_it_is(tmp_path):
    from glossae.sae import SaeConfig

    sae = Sae(SaeConfig(d_in=6, latents=10, k=3, relu=False, model=str(tmp_path), site="resid", layer=1))
    sae.save_pretrained(tmp_path / "out")
    back = Sae.from_pretrained(tmp_path / "out")
    assert (back.config.relu, back.config.model) == (False, tmp_path.name)
    assert "SAELens cannot read it" in (tmp_path / "out/README.md").read_text()


def test_the_licence_of_a_data_set_stands_on_the_card(hub, client, push, pushed_world, mine, tmp_path):
    rows = [{"translation": pair} for pair in sentences(PAIRS, seed=3)]
    hub.add(mine, {"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}, kind="datasets")
    hub.repo(mine, "datasets").card_data = {"license": ["cc-by-4.0"]}
    out = tmp_path / "run"
    text = {"corpora__train": f"hub:{mine}", "corpora__test": None, "layer": 1}
    line = pushed_world.line(out, **text)
    assert client("run", *line, "--until", "sae", "--quiet")["status"] == 0, client.noise
    push(out, mine)
    card = files_of(hub, mine)["README.md"].decode()
    assert re.search(rf"\| hub:{mine} \| .* \| cc-by-4.0 \|", card)
    assert "**No latent was tested against other languages.**" in card
