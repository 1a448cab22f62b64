# Two commands matter: `make demo` and `make test`. Each makes .venv and installs into it what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what a person installs, and what working on glossae takes besides
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
# the libraries whose files glossae reads and writes (llama.cpp needs cmake and a C++ compiler); they bring too much to live in .venv
PEERS := .venv-peers
PEERS_INSTALLED := $(PEERS)/.installed
PEERS_PACKAGES := sae-lens==6.54.12 eai-sparsify==1.3.3 dictionary-learning==0.1.0 llama-cpp-python==0.3.36 gguf

# atheris, for Linux with x86-64 and Python up to 3.13; it needs no torch
FUZZ := .venv-fuzz
FUZZ_INSTALLED := $(FUZZ)/.installed
FUZZ_SECONDS ?= 40
FUZZ_FORMS := labelled.tsv header.tsv documents.tsv columns.txt aligned.txt records.jsonl languages.jsonl records.csv \
	languages.csv treebank.conllu memory.tmx task.tsv task.jsonl task.csv stream.txt stream.jsonl stream.txt.gz \
	stream.jsonl.zst stream.parquet stream

PLAIN_TESTS := tests/corpora tests/units tests/evidence tests/test_recipe.py \
	tests/test_recipe_written.py tests/test_cli.py tests/test_environment.py tests/test_stats.py

.PHONY: demo results quick test test-slow test-peers fuzz lint audit lock format docs notebooks clean

demo: $(INSTALLED)
	$(BIN)/glossae run demo --again

# the pages of results/ and docs/measured.md: FROM is a folder with the models and the text (see results/make.py)
results: $(INSTALLED)
	$(BIN)/python results/make.py $(abspath $(FROM))

# a file of tests at a time on each of two cores, in the order of tests/conftest.py
test: $(TOOLS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# under a minute: what needs no run
quick: $(TOOLS)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PLAIN_TESTS)

test-slow: $(TOOLS)
	$(BIN)/python -m pytest -m slow

test-peers: $(PEERS_INSTALLED)
	HF_HUB_OFFLINE=1 PYTHONPATH=src $(PEERS)/bin/python -m pytest -m peers tests/sae/test_peers.py \
		tests/effects/test_peers_turned.py

# bytes that a fuzzer makes up, for every reader of text: 14 minutes
fuzz: $(FUZZ_INSTALLED)
	for form in $(FUZZ_FORMS); do PYTHONPATH=src $(FUZZ)/bin/python tests/fuzz/fuzz_readers.py $$form \
		-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -verbosity=0 || exit 1; done

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# packages with known vulnerabilities
audit: $(TOOLS)
	$(BIN)/python tools/audit.py

# anew after a change of pyproject.toml or constraints.txt; needs uv, which is not installed into .venv
lock:
	printf '%s\n' "# The versions of constraints.txt with the hashes of their files on the package index; 'make lock' writes it." \
		'# pip install --require-hashes -r requirements.lock' > requirements.lock
	uv pip compile --quiet pyproject.toml --extra dev -c constraints.txt --generate-hashes --universal \
		--python-version 3.11.7 --no-annotate --no-header --no-emit-index-url --no-emit-find-links >> requirements.lock

# the documentation, in build/docs; the notebooks in it are those of examples/
docs: $(TOOLS)
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

# anew from the scripts beside them
notebooks: $(TOOLS)
	$(BIN)/python -m jupytext --quiet --update --to ipynb examples/*.py

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(PEERS) $(FUZZ) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Anew whenever what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# nnsight, which dictionary_learning brings, asks for torchvision: it is not used, and where its build is not torch's
# own, transformers fails to import.
$(PEERS_INSTALLED): Makefile constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(PEERS_PACKAGES) cloudpickle zstandard pytest hypothesis beartype jaxtyping defusedxml
	# vLLM needs a GPU's machine; what the tests use of vllm-lens does not need vLLM
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
		vllm-lens==1.3.0
	$(PEERS)/bin/python -m pip uninstall --quiet --yes torchvision
	touch $@

$(FUZZ_INSTALLED): Makefile constraints.txt
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt atheris==3.0.0 \
		pydantic filelock defusedxml langcodes pyyaml jaxtyping numpy huggingface-hub pytest pyarrow
	touch $@
