"""Models of the hub: any revision, from the network once and then from the cache, and every refusal in one line."""

import json
import shutil

import pytest
from safetensors.torch import load, load_file, save

PICKLE = b"not one, and never opened"


def changed(files, **config):
    """The files with other settings in config.json."""
    return files | {"config.json": json.dumps(json.loads(files["config.json"]) | config)}


def scaled(files, factor):
    """The files with other weights."""
    tensors = {name: tensor * factor for name, tensor in load(files["model.safetensors"]).items()}
    return files | {"model.safetensors": save(tensors, metadata={"format": "pt"})}


def without(files, *beginnings):
    return {name: data for name, data in files.items() if not name.startswith(beginnings)}


def test_a_model_is_fetched_once_and_nothing_but_what_is_loaded(hub, client, name, model_files, tiny_model):
    more = {
        "pytorch_model.bin": PICKLE,
        "README.md": "# A card",
        "onnx/model.onnx": b"?",
        "onnx/config.json": "{}",
    }
    commit = hub.add(name, model_files | more)
    hub.asked.clear()
    answer = client("load", name)
    assert client.noise == ""
    assert answer["commit"] == answer["known"] == commit
    assert answer["name"] == name
    weights = load_file(tiny_model / "model.safetensors")["gpt_neox.embed_in.weight"]
    assert answer["sum"] == float(weights.sum())
    fetched = {
        line.rpartition("/")[2] for line in hub.asked if line.startswith("GET") and "/resolve/" in line
    }
    # the hub redirects to its storage where large files are
    assert fetched == set(model_files)
    assert sum(line.startswith("GET /stored/") for line in hub.asked) == 1
    hub.asked.clear()
    assert client("load", name) == answer
    # whether the branch has moved is asked, and nothing else
    assert hub.asked == [f"HEAD /{name}/resolve/main/config.json"]


@pytest.mark.parametrize("asked", ["step3", "v1.0", "refs/pr/7", "COMMIT"])
def test_a_branch_a_tag_a_pull_request_and_a_commit(hub, client, offline, name, model_files, asked):
    hub.add(name, model_files)
    plain = client("load", name)
    other = scaled(model_files, 3.0)
    # its tokenizer is another one too
    vocabulary = json.loads(model_files["tokenizer.json"])
    del vocabulary["model"]["merges"][5:]
    other["tokenizer.json"] = json.dumps(vocabulary)
    commit = hub.add(name, other, revision=asked, tag=asked == "v1.0")
    revision = commit if asked == "COMMIT" else asked
    answer = client("load", f"{name}@{revision}")
    assert answer["commit"] == commit
    assert answer["sum"] == pytest.approx(3 * plain["sum"], rel=1e-5)
    assert len(answer["ids"]) > len(plain["ids"])
    assert offline("load", f"{name}@{revision}") == answer
    assert offline("load", name) == plain


def test_a_branch_that_moves_is_another_model(hub, client, offline, name, model_files):
    assert client("identity", name) == f"{name} None"
    first = hub.add(name, model_files)
    one = client("load", name)
    before = client("identity", name)
    second = hub.add(name, scaled(model_files, 2.0))
    two = client("load", name)
    assert (one["commit"], two["commit"]) == (first, second)
    assert two["sum"] == pytest.approx(2 * one["sum"], rel=1e-5)
    hub.asked.clear()
    after = client("identity", name)
    assert before != after
    assert (before, after) == (f"{name} {first}", f"{name} {second}")
    assert offline("identity", name) == after
    assert offline("load", f"{name}@{first}")["sum"] == one["sum"]
    assert hub.asked == []


def test_weights_in_several_files(hub, client, offline, name, model_files):
    tensors = load(model_files["model.safetensors"])
    halves = [dict(list(tensors.items())[part::2]) for part in (0, 1)]
    shards = {f"model-0000{n}-of-00002.safetensors": half for n, half in enumerate(halves, 1)}
    index = {
        "weight_map": {tensor: shard for shard, half in shards.items() for tensor in half},
        "metadata": {},
    }
    files = without(model_files, "model.") | {"model.safetensors.index.json": json.dumps(index)}
    commit = hub.add(name, files | {shard: save(half, {"format": "pt"}) for shard, half in shards.items()})
    assert client("load", name)["commit"] == commit
    assert offline("load", name)["commit"] == commit
    hub.add(f"{name}-lost", files | {next(iter(shards)): save(halves[0], {"format": "pt"})})
    hub.add(f"{name}-broken", files | {"model.safetensors.index.json": "{"})
    assert "names model-00002-of-00002.safetensors, which is not on the hub" in client("load", f"{name}-lost")
    assert "its model.safetensors.index.json cannot be read" in client("load", f"{name}-broken")


def test_a_token_opens_what_is_gated_and_is_shown_to_nobody_else(hub, client, name, model_files):
    commit = hub.add(name, model_files)
    repo = hub.repo(name)
    repo.refuse, repo.require = (403, {"X-Error-Code": "GatedRepo"}), "hf_good"
    # the storage refuses every request that brings a token
    assert client("load", name, HF_TOKEN="hf_good")["commit"] == commit


def test_a_model_that_is_only_probed_is_looked_at_but_not_fetched(hub, client, refusal, name, model_files):
    hub.add(name, model_files)
    hub.asked.clear()
    assert client("probed", name) is None
    assert not any("/stored/" in line for line in hub.asked)
    hub.add(f"{name}-pickles", without(model_files, "model.") | {"pytorch_model.bin": PICKLE})
    message = refusal("probed", f"{name}-pickles")
    assert message.startswith(f"probe.models: {name}-pickles holds its weights only as pickles")
    assert refusal("probed", "org/none").startswith("probe.models: org/none is not on the hub")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_is_cached_needs_neither_network_nor_a_hub_in_good_health(
    hub, client, offline, name, model_files, status
):
    hub.add(name, model_files)
    answer = client("load", name)
    hub.asked.clear()
    assert offline("load", name) == answer
    assert hub.asked == []
    hub.repo(name).refuse = (status, {})
    assert client("load", name) == answer
    with hub.unreachable():
        assert client("load", name) == answer
        assert client.noise == ""


def test_what_is_not_cached_and_no_network(hub, client, offline, refusal, name):
    message = refusal("load", name, by=offline)
    assert message.startswith(f"model: {name} is not in the hub's cache, and HF_HUB_OFFLINE is set: unset it")
    assert f"copy {client.home}" in message
    with hub.unreachable():
        message = refusal("load", f"{name}@step1")
    assert message.startswith(
        f"model: {name}@step1 is not in the hub's cache, and the hub cannot be reached ("
    )
    assert (
        f"give a folder instead, or fetch it on a machine with a network ('hf download {name} --revision step1')"
        in message
    )


def test_half_of_a_model_in_the_cache(hub, client, offline, refusal, name, model_files):
    commit = hub.add(name, model_files)
    client("load", name)
    folder = client.home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / commit
    (folder / "model.safetensors").resolve().unlink()
    assert "is not in the hub's cache, and HF_HUB_OFFLINE is set" in refusal("load", name, by=offline)
    assert client("load", name)["commit"] == commit
    assert offline("load", name)["commit"] == commit


@pytest.mark.parametrize(
    ("answer", "token", "message"),
    [
        ((401, {"X-Error-Code": "GatedRepo"}), None, "is gated: accept its terms at {page}, then log in with 'hf auth"),
        ((403, {"X-Error-Code": "GatedRepo"}), "hf_me", "is gated, and your token's account has no access: accept"),
        ((403, {"X-Error-Message": "no"}), "hf_me", "cannot be fetched: your token may not read it (403): see {page}"),
        ((403, {"X-Error-Message": "Access to this resource is disabled."}), None, "has been disabled on the hub"),
        ((401, {"X-Error-Message": "Invalid username or password."}), None, "is not on the hub, or it is private"),
        ((404, {"X-Error-Code": "RepoNotFound"}), "hf_me", "is not on the hub, or it is private"),
        ((404, {}), None, "is not on the hub, or it is private"),
        ((401, {}), "hf_bad", "cannot be fetched: the hub does not accept your token: renew it"),
        ((429, {"Retry-After": "600"}), None, "cannot be fetched: the hub asks to wait (429): try later"),
        ((503, {}), None, "cannot be fetched: the hub answers 503: the fault is there: try again later"),
        ((418, {}), None, "cannot be fetched: the hub answers 418: see {page}"),
        ((200, {}), None, "cannot be fetched: what answers at {url} is not the hub: check HF_ENDPOINT"),
    ],
)  # fmt: skip
def test_refusals(hub, refusal, name, model_files, answer, token, message):
    hub.add(name, model_files)
    hub.repo(name).refuse = answer
    expected = message.format(page=f"{hub.url}/{name}", url=hub.url)
    assert refusal("load", name, HF_TOKEN=token).startswith(f"model: {name} {expected}")


@pytest.mark.parametrize(
    ("asked", "longest"),
    [
        ({"Retry-After": "600"}, 8),
        ({"Retry-After": "9" * 400}, 8),
        ({"ratelimit": '"api";r=0;t=299'}, 8),
        ({"Retry-After": "20"}, 21),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, 8),
    ],
)
def test_an_answer_that_asks_to_wait_long_is_not_waited_for(
    hub, client, refusal, name, model_files, asked, longest
):
    hub.add(name, model_files)
    hub.repo(name).refuse = (429, asked)
    assert "the hub asks to wait (429): try later" in refusal("load", name)
    assert max(client("slept")) == longest


def test_no_such_model(refusal, hub):
    message = refusal("load", "org/nothing")
    assert message == (
        "model: org/nothing is not on the hub, or it is private, and there is no such folder: check the name at "
        f"{hub.url}/org/nothing, or log in with 'hf auth login' or HF_TOKEN"
    )


@pytest.mark.parametrize("text", ["org/x@", "org/a@../../b", "org/a--b..c", "-x", "a b"])
def test_names_that_nothing_can_have(refusal, text):
    assert refusal("load", text).startswith("model: ")


def test_no_such_revision(hub, client, refusal, name, model_files):
    hub.add(name, model_files)
    for step in (1, 1000, 2000, 3000, 143000):
        hub.add(name, model_files, revision=f"step{step}", tag=step == 1)
    message = refusal("load", f"{name}@step300")
    assert message.startswith(
        f"model: {name}@step300 has no revision 'step300': did you mean step3000 or step"
    )
    message = refusal("load", f"{name}@{'0' * 40}")
    assert message.endswith(f"there are main, step1000, step2000 and 3 more: see {hub.url}/{name}")


def test_a_transfer_that_breaks_off_is_resumed(hub, client, name, model_files):
    commit = hub.add(name, model_files)
    hub.repo(name).breaks, hub.repo(name).break_after = 3, 10_000
    hub.asked.clear()
    assert client("load", name)["commit"] == commit
    assert client.noise == ""
    starts = [line.partition("bytes=")[2] for line in hub.asked if line.startswith("GET /stored/")]
    assert starts == ["", "10000-", "20000-", "30000-"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_transfer_that_never_comes_through_or_stalls(hub, client, refusal, name, model_files, reset):
    commit = hub.add(name, model_files)
    repo = hub.repo(name)
    repo.breaks, repo.reset = 1000, reset
    assert refusal("load", name).startswith(f"model: {name} cannot be fetched: the transfer broke off (")
    repo.breaks, repo.stalls = 0, int(reset)
    assert client("load", name)["commit"] == commit


def test_other_bytes_than_announced_are_thrown_away(hub, client, offline, refusal, name, model_files):
    commit = hub.add(name, model_files)
    repo = hub.repo(name)
    # a bit in the last weight: the size is right and safetensors is content
    repo.spoil = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    message = refusal("load", name)
    assert message.startswith(
        f"model: {name}: model.safetensors arrived with other bytes than the hub announced"
    )
    assert "run the same command again" in message
    refusal("load", name, by=offline)
    repo.spoil = lambda data: data[:-100]
    assert "a file arrived with another size than the hub announced" in refusal("load", name)
    repo.spoil = None
    assert client("load", name)["commit"] == commit


@pytest.mark.parametrize(
    "lie",
    [
        {"ETag": '"../../../outside"'},
        {"ETag": 'W/"..\\\\outside"', "X-Linked-ETag": '"/tmp/outside"'},
        {"ETag": '".."'},
        {"ETag": f'"{"a" * 4000}"'},
        {"X-Repo-Commit": "../../outside"},
        {"X-Repo-Commit": "main"},
    ],
)
def test_names_of_files_that_a_mirror_makes_up_are_refused(hub, client, refusal, name, model_files, lie):
    hub.add(name, model_files)
    hub.repo(name).lies = lie
    before = sorted(path for path in client.home.rglob("*") if not path.name.startswith("stderr-"))
    message = refusal("load", name)
    assert message.startswith(f"model: {name} cannot be fetched: what answers there is not the hub: its ")
    assert sorted(path for path in client.home.rglob("*") if not path.name.startswith("stderr-")) == before
    assert not list(client.home.parent.rglob("*outside*"))
    hub.repo(name).lies = {}
    client("load", name)


def test_a_file_that_is_not_there_makes_no_folder_outside_the_cache(hub, client, refusal, name, model_files):
    hub.add(name, without(model_files, "config."))
    hub.repo(name).refuse = (404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "../../../outside"})
    assert "its X-Repo-Commit is '../../../outside'" in refusal("load", name)
    assert not list(client.home.parent.rglob("*outside*"))


def test_answers_without_an_end_are_refused(hub, client, refusal, name, model_files):
    hub.add(name, without(model_files, "tokenizer"))
    hub.repo(name).endless = "lists"
    assert "the hub answers with more than 67,108,864 bytes" in refusal("load", name)
    hub.repo(name).endless = "files"
    assert "a file arrived with another size than the hub announced" in refusal("load", name)


def test_the_hubs_client_is_as_before_after_each_use(client):
    client("read", "hub:nobody/nothing")
    assert client("untouched") is True


def test_a_disk_that_is_full(hub, client, refusal, name, model_files):
    commit = hub.add(name, model_files)
    client("small files", 50_000)
    try:
        message = refusal("load", name)
    finally:
        client("small files", None)
    assert message.startswith(
        f"model: {name} cannot be fetched into {client.home} (File too large): free disk space there"
    )
    assert client("load", name)["commit"] == commit


def test_a_cache_that_cannot_be_written(hub, client, refusal, name, model_files):
    hub.add(name, model_files)
    # a file where the folder would be stops root as well
    place = client.home / "hub" / f"models--{name.replace('/', '--')}"
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    assert refusal("load", name).startswith(f"model: {name} cannot be fetched")


OWN = {"own.py": "raise SystemExit"}
CUT_SHORT = "cannot be loaded: /"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda files: without(files, "model.") | {"pytorch_model.bin": PICKLE},
            "holds its weights only as pickles (pytorch_model.bin), which can run code when opened: name a revision",
        ),
        (lambda files: without(files, "model."), "has neither model.safetensors nor model.safetensors.index.json"),
        (lambda files: without(files, "config."), "has no config.json, so it is not a Transformers model"),
        (lambda files: files | {"config.json": "{"}, "cannot be loaded: "),
        (lambda files: without(files, "tokenizer"), "has no tokenizer: there is no tokenizer.json"),
        (
            lambda files: changed(files, model_type="own", auto_map={"AutoConfig": "own.Own"}) | OWN,
            "needs code of its own (auto_map in its configuration), which glossae does not run",
        ),
        (lambda files: changed(files, model_type="nobodys"), "cannot be loaded: "),
        (lambda files: files | {"model.safetensors": files["model.safetensors"][:-4]}, CUT_SHORT),
        (lambda files: files | {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, CUT_SHORT),
    ],
)  # fmt: skip
def test_models_that_cannot_be_used(hub, refusal, name, model_files, spoil, message):
    hub.add(name, spoil(model_files))
    hub.asked.clear()
    assert refusal("load", name).startswith(f"model: {name} {message}")
    if message != CUT_SHORT and "tokenizer" not in message:
        assert not any("/stored/" in line for line in hub.asked)


def test_code_of_its_own_is_not_needed_for_a_kind_that_transformers_has(hub, client, name, model_files):
    commit = hub.add(name, changed(model_files, auto_map={"AutoModelForCausalLM": "own.Own"}) | OWN)
    assert client("load", name)["commit"] == commit


def test_a_folder_with_the_hubs_files_loads_the_same(hub, client, name, model_files, tmp_path):
    hub.add(name, model_files)
    answer = client("load", name)
    folder = shutil.copytree(client.home / "hub" / f"models--{name.replace('/', '--')}", tmp_path / "copy")
    (snapshot,) = (folder / "snapshots").iterdir()
    copied = client("load", str(snapshot))
    assert copied["commit"] is None
    assert copied["sum"] == answer["sum"]
