"""Training the toy model: a tokenizer, then a small GPT-NeoX, on toy sentences of all languages.

The only file of the toy that needs torch and transformers; `toy_grammar.model` imports it when it is needed.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from toy_grammar.grammar import documents
from toy_grammar.settings import ModelSettings

END, PADDING = "<|endoftext|>", "<|padding|>"
END_ID, PADDING_ID = 0, 1
IGNORED = -100

Progress = Callable[[float], None]


def train(settings: ModelSettings, folder: Path, progress: Progress | None = None) -> None:
    """Train a model and write it, with its tokenizer, into an existing folder.

    Torch's global generator and number of threads are left as they were.

    Args:
        settings: what to train.
        folder: gets `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`.
        progress: called with the finished share, 0 to 1, after every step.
    """
    texts = training_texts(settings)
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    rows = [[*encoding.ids, END_ID] for encoding in tokenizer.encode_batch(texts)]
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(settings.seed)
        model = GPTNeoXForCausalLM(_config(settings))
        _optimise(model, rows, settings, progress)
    model.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=PADDING,
        model_max_length=settings.positions,
    ).save_pretrained(folder)


def training_texts(settings: ModelSettings) -> list[str]:
    """One document per training row, of different sentences, in a language drawn by its share."""
    random, rows = Random(settings.seed), settings.steps * settings.batch
    written = documents([random.randint(1, settings.document) for _ in range(rows)], settings.seed)
    languages = random.choices(list(settings.shares), weights=list(settings.shares.values()), k=rows)
    return [texts[language] for texts, language in zip(written, languages, strict=True)]


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE, so that every text has tokens, and none is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@contextmanager
def _one_thread() -> Iterator[None]:
    # sums then do not depend on the caller's threads; and with matrices as small as these, a second thread
    # gains little on idle cores and costs tenfold, by spinning, on busy ones
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _config(settings: ModelSettings) -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        max_position_embeddings=settings.positions,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PADDING_ID,
        architectures=["GPTNeoXForCausalLM"],
        dtype="float32",
    )


def _optimise(
    model: GPTNeoXForCausalLM, rows: list[list[int]], settings: ModelSettings, progress: Progress | None
) -> None:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, settings))
    model.train()
    for step, batch in enumerate(_batches(rows, settings), start=1):
        inputs = torch.full((len(batch), max(map(len, batch))), PADDING_ID)
        targets = torch.full_like(inputs, IGNORED)
        for i, row in enumerate(batch):
            inputs[i, : len(row)] = targets[i, : len(row)] = torch.tensor(row)
        # pads stand on the right, where a causal model never looks back from a real token
        logits = model(input_ids=inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        if progress is not None:
            progress(step / settings.steps)


def _batches(rows: list[list[int]], settings: ModelSettings) -> Iterator[list[list[int]]]:
    """Batches of rows of like length, in random order."""
    longest_first = sorted(rows, key=len, reverse=True)
    batches = [longest_first[i : i + settings.batch] for i in range(0, len(rows), settings.batch)]
    Random(settings.seed).shuffle(batches)
    yield from batches


def _rate(step: int, settings: ModelSettings) -> float:
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))
