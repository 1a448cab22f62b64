"""Labels of units by a language model behind an OpenAI-compatible endpoint, scored by detection."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from glossae.environment import loopback
from glossae.errors import GlossaeError
from glossae.files import file_sha256, fingerprint, refuse_links, write_json
from glossae.results import UnitContext, UnitDashboard, UnitLabel, read_label
from glossae.stats import interval

KEY = "OPENAI_API_KEY"
LABELS = "labels"
# seconds for a whole answer, and its most bytes
PATIENCE = 120.0
LARGEST = 1_000_000
# contexts that the labeller sees, sentences that the judge sees at once, and the fewest of a side for a score
SHOWN, AT_ONCE, FEWEST = 20, 10, 4
LONGEST_LABEL = 160
# letters of a key that a label may not repeat
SECRET = 8
DRAWS = 1000

Messages: TypeAlias = list[dict[str, str]]

_LABELLER = """\
You study one unit inside a language model. You get passages with its largest values; tokens on which the value is \
large stand between << and >>. Passages may be in several languages. Say in one short phrase what the marked tokens, \
or the passages, have in common: a language, a kind of word, a spelling, a meaning. Be as specific as the passages \
allow. Answer with JSON alone: {"label": "..."}"""
_JUDGE = """\
You get a description of a unit inside a language model, and numbered sentences. The unit fires on a sentence if the \
description fits some part of it. Say on which sentences it fires. Answer with JSON alone, such as {"fires": [1, 4]}, \
or {"fires": []}."""


class NoAnswerError(GlossaeError):
    """The endpoint answered, but with no label or judgement: a refusal, or something malformed."""


class _TooLargeError(Exception):
    """An answer has more bytes than we read."""


@dataclass(frozen=True)
class Endpoint:
    """Chat completions of an OpenAI-compatible server.

    The key is read from the environment variable `OPENAI_API_KEY` at each request, and neither kept nor shown.

    Attributes:
        url: with or without `/chat/completions`, such as `http://localhost:8000/v1`; a query (`?api-version=1`) stays
            at its end.
        model: as the server calls it.
    """

    url: str
    model: str

    def __post_init__(self) -> None:
        what = f"--endpoint: {self.url!a} is no URL such as http://localhost:8000/v1"
        try:
            parts = urlsplit(self.url)
            # a port that is none is an error only when it is asked for
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError as error:
            raise GlossaeError(what) from error
        if not known:
            raise GlossaeError(what)
        if parts.fragment:
            raise GlossaeError("--endpoint: leave out what follows the #, which no server is sent")
        if parts.username or parts.password:
            raise GlossaeError(f"--endpoint: give a key in the environment variable {KEY}, not in the URL")
        if _key() and parts.scheme == "http" and not loopback(parts.hostname):
            raise GlossaeError(f"--endpoint: http would send {KEY} in the clear; use https, or unset it")

    def ask(self, messages: Messages) -> str:
        """The answer to some messages.

        Raises:
            NoAnswerError: the model refused, or the answer has no text.
            GlossaeError: the server cannot be reached, answers with an error or with more than 1 MB, or has not
                answered whole within two minutes.
        """
        import httpx

        key = _key()
        try:
            status, body = _finished(self._post, messages, key)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise GlossaeError(f"--endpoint: no answer within {PATIENCE:g} seconds") from error
        except _TooLargeError as error:
            raise GlossaeError(f"--endpoint: an answer of more than {LARGEST:,} bytes") from error
        except (httpx.LocalProtocolError, UnicodeError) as error:
            # such an error may quote the headers, and so the key
            raise GlossaeError(
                "--endpoint: cannot be asked: its URL, or what it is sent, is malformed"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GlossaeError(f"--endpoint: cannot be reached ({_masked(str(error), key)})") from error
        if status != 200:
            said = _masked(body.decode("utf-8", "replace"), key)
            raise GlossaeError(f"--endpoint: answered {status}: {said}")
        try:
            message = json.loads(body)["choices"][0]["message"]
            refusal, content = message.get("refusal"), message.get("content")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise NoAnswerError("the answer is no chat completion") from error
        if refusal or not isinstance(content, str):
            raise NoAnswerError("the model refused" if refusal else "the answer has no text")
        return content

    async def _post(self, messages: Messages, key: str) -> tuple[int, bytes]:
        """Status and body of an answer. The client's own timeouts begin again at each byte; this one does not."""
        import httpx

        parts = urlsplit(self.url)
        path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        url = urlunsplit(parts._replace(path=path))
        # not compressed: a small answer could become a large one
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        asked = {"model": self.model, "messages": messages, "temperature": 0}
        body = b""
        # redirects are not followed: the key is for this server. A proxy of the environment is not for this machine
        async with (
            asyncio.timeout(PATIENCE),
            httpx.AsyncClient(timeout=PATIENCE, trust_env=not loopback(parts.hostname)) as client,
            client.stream("POST", url, json=asked, headers=headers) as answer,
        ):
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LARGEST:
                    raise _TooLargeError
        return answer.status_code, body


def _finished(
    post: Callable[[Messages, str], Coroutine[Any, Any, tuple[int, bytes]]], messages: Messages, key: str
) -> tuple[int, bytes]:
    """What a coroutine returns, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(post(messages, key))
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(post(messages, key))).result()


def _key() -> str:
    """The key in the environment, without blanks around it; never named in an error."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise GlossaeError(f"{KEY}: holds control or non-ASCII characters; set it to the key alone")
    return key


def explain(
    folder: Path,
    dashboards: Sequence[UnitDashboard],
    endpoint: Endpoint,
    *,
    seed: int = 0,
    told: Callable[[UnitDashboard, UnitLabel | None], None] = lambda *_: None,
) -> list[UnitLabel]:
    """Ask for a label of each unit, score it, and write it as `labels/KIND-NUMBER.json`.

    The labeller sees the unit's best contexts. The judge sees the label and sentences that the labeller did not see,
    half of which the unit fires on, and says on which (detection: Paulo et al. 2024, Automatically interpreting
    millions of features in large language models, section 3.2). A label that is there already, for the same dashboard
    and by the same model, is kept. A unit with too few sentences for a score gets none.

    Args:
        folder: the run's.
        dashboards: its units.
        endpoint: the model.
        seed: of the order of sentences, and of the interval.
        told: called with each unit and its label; None if it has too few sentences.

    Raises:
        GlossaeError: the endpoint fails, or gave some units no label; those that others got are written.
    """
    refuse_links(folder, (LABELS,))
    labels, without = [], []
    for unit in dashboards:
        name = f"{unit.kind}-{unit.unit}"
        before = read_label(folder, unit.kind, unit.unit)
        try:
            label = (
                before
                if before and before.model == endpoint.model
                else _label(unit, file_sha256(folder / "dashboards" / f"{name}.json"), endpoint, seed)
            )
        except NoAnswerError as error:
            without.append(f"{unit.label} ({error})")
            continue
        if label is not None:
            if label is not before:
                write_json(folder / LABELS / f"{name}.json", label.to_json())
            labels.append(label)
        told(unit, label)
    if without:
        raise GlossaeError(
            f"explain: {len(without)} of {len(dashboards)} units got no label: {'; '.join(without)[:300]}; the same "
            "command asks for them again"
        )
    return labels


def _label(unit: UnitDashboard, dashboard: str, endpoint: Endpoint, seed: int) -> UnitLabel | None:
    """Ask for a label, and for the judgements that score it; None if there are too few sentences for a score."""
    asked: list[Messages] = []

    def ask(system: str, user: str) -> dict[str, Any]:
        asked.append([{"role": "system", "content": system}, {"role": "user", "content": user}])
        return _json(endpoint.ask(asked[-1]))

    shown = _best(unit)
    firing, silent = held_out(unit, shown)
    if min(len(firing), len(silent)) < FEWEST:
        return None
    said = ask(_LABELLER, "\n".join(_marked(unit, context) for context in shown)).get("label")
    key = _key()
    # such as EMPTY, which local servers are given, is no secret, and may be a word of a label
    secret = key if len(key) >= SECRET else ""
    label = _masked(said, secret) if isinstance(said, str) else ""
    if not label:
        raise NoAnswerError("the answer has no label")
    sentences = [
        ("".join(context.tokens), side) for side, own in ((True, firing), (False, silent)) for context in own
    ]
    order = np.random.default_rng([seed, unit.unit]).permutation(len(sentences))
    right: dict[bool, list[float]] = {True: [], False: []}
    for first in range(0, len(order), AT_ONCE):
        some = [sentences[number] for number in order[first : first + AT_ONCE]]
        numbered = "\n".join(
            f"{number}. {' '.join(text.split())}" for number, (text, _) in enumerate(some, 1)
        )
        fires = ask(_JUDGE, f"Description: {label}\n\n{numbered}").get("fires")
        if not isinstance(fires, list) or not all(type(number) is int for number in fires):
            raise NoAnswerError("the answer has no list of sentences")
        for number, (_, side) in enumerate(some, 1):
            right[side].append(float((number in fires) == side))
    low, high = _interval(right[True], right[False], seed)
    return UnitLabel(
        kind=unit.kind,
        unit=unit.unit,
        label=label,
        model=endpoint.model,
        prompts=fingerprint(asked),
        dashboard=dashboard,
        firing=len(right[True]),
        silent=len(right[False]),
        balanced_accuracy=float(np.mean(right[True]) + np.mean(right[False])) / 2,
        low=low,
        high=high,
    )


def _best(unit: UnitDashboard) -> list[UnitContext]:
    """The contexts that the labeller sees: the best of all languages on which the unit fires."""
    every = [context for contexts in unit.contexts.values() for context in contexts if _fires(unit, context)]
    return sorted(every, key=lambda context: -context.values[context.peak])[:SHOWN]


def _fires(unit: UnitDashboard, context: UnitContext) -> bool:
    return context.values[context.peak] > unit.threshold


def held_out(
    unit: UnitDashboard, shown: Sequence[UnitContext]
) -> tuple[list[UnitContext], list[UnitContext]]:
    """As many sentences on which a unit fires as on which it does not, none of which the labeller has seen.

    Those that fire are drawn from each interval of its values.
    """
    seen = {tuple(context.ids) for context in shown}
    drawn = [context for each in unit.intervals for context in each.contexts if _fires(unit, context)]
    firing = [context for context in drawn if tuple(context.ids) not in seen]
    silent = [context for context in unit.silent if tuple(context.ids) not in seen]
    count = min(len(firing), len(silent))
    return firing[:count], silent[:count]


def _marked(unit: UnitDashboard, context: UnitContext) -> str:
    """A context with the tokens of large values between << and >>."""
    largest = max(context.values)
    parts: Iterator[str] = (
        f"<<{token}>>" if token and value > max(unit.threshold, largest / 2) else token
        for token, value in zip(context.tokens, context.values, strict=True)
    )
    return " ".join("".join(parts).split())


def _json(answer: str) -> dict[str, Any]:
    """The object in an answer, which models like to wrap in words or a code block."""
    found = answer[answer.find("{") : answer.rfind("}") + 1]
    try:
        said = json.loads(found) if found else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NoAnswerError("the answer is no JSON object")
    return said


def clean_label(text: str) -> str:
    """One line of what can be seen, at most 160 characters."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(seen.split())[:LONGEST_LABEL].strip()


def _interval(firing: Sequence[float], silent: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % interval of the balanced accuracy: a bootstrap over sentences, of each side by itself."""
    generator = np.random.default_rng(seed)
    sides = [np.array(own) for own in (firing, silent)]
    means = [own[generator.integers(0, len(own), size=(DRAWS, len(own)))].mean(1) for own in sides]
    return interval(np.mean(means, axis=0))


def _masked(text: str, key: str) -> str:
    """A server's words, on one line, without the key that it may repeat."""
    return clean_label(text.replace(key, "***") if key else text)
