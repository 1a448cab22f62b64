"""The app's page: Gradio components laid out over a `Workbench`, and the server that shows them."""

import html
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glossae.app.workbench import Loss, NextToken, Token, Workbench
from glossae.errors import GlossaeError, bug, expect, one_line, visible
from glossae.reporting.unit_pages import shown_token
from glossae.reporting.wording import language_name, model_name

# the ends of the slider
FURTHEST = 8.0
DOSE = 4.0
LARGEST = "largest"
SIDES = ("target", "reference")
# in the run's folder: the pages of its units, and the report, to which they link
PAGES, REPORT = "units", "report.html"
# letters of a text box
LONGEST = 5000

_STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
# the address of the view, which also becomes that of the page, so that a reload restores it
_LINK = """(target, reference, prompt, units, by, dose) => {
  const query = new URLSearchParams(location.search);
  const view = {target, reference, prompt, units: units.join(","), by, dose};
  for (const [key, value] of Object.entries(view)) query.set(key, value);
  const link = `${location.origin}${location.pathname}?${query}`;
  history.replaceState(history.state, "", link);
  return link;
}"""


class View(NamedTuple):
    """The values of the page's fields: what a link restores."""

    target: str
    reference: str
    prompt: str
    units: list[str]
    by: str
    dose: float


class _Blocks(gr.Blocks):
    """Blocks that refuse what the page's fields cannot hold; Gradio prints a traceback of each such request."""

    async def preprocess_data(self, block_fn: Any, *given: Any, **named: Any) -> Any:
        """What the fields of a request hold."""
        try:
            # what the browser does by itself has no function here
            assert block_fn.fn is not None
            return await super().preprocess_data(block_fn, *given, **named)
        except Exception as error:
            raise gr.Error("the page asks for nothing like this", print_exception=False) from error


class _Refusing:
    """Answers where a route of Gradio raises, as for a name that is none; its traceback would go to the terminal."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            # our own routes and files are elsewhere
            if not scope.get("path", "").startswith("/gradio_api/"):
                raise
            if begun:
                await send({"type": "http.response.body"})
            else:
                await PlainTextResponse("the page asks for nothing like this", 400)(scope, receive, send)


def build(bench: Workbench) -> gr.Blocks:
    """The page of a workbench."""
    examples = bench.examples()
    start = View(
        examples[bench.target],
        examples[bench.reference],
        "When he went fishing he saw",
        list(bench.selected),
        LARGEST,
        DOSE,
    )
    own, other = language_name(bench.target), language_name(bench.reference)
    offered = [(f"{unit.name} {unit.about}".strip(), unit.key) for unit in bench.units.values()]

    # Any: whoever reaches the server may send what the fields cannot hold
    def colours(target: Any, reference: Any, units: Any, by: Any) -> tuple[str, str]:
        def one(text: Any) -> str:
            return coloured(bench, _text(text), _keys(units) if by in (None, LARGEST) else [by])

        return _told(partial(one, target)), _told(partial(one, reference))

    def effects(target: Any, reference: Any, prompt: Any, units: Any, dose: Any) -> tuple[str, str]:
        def lost() -> str:
            both = {bench.target: _text(target), bench.reference: _text(reference)}
            return losses_table(bench.losses(both, _keys(units), _dose(dose)))

        def likely() -> str:
            return next_tokens_table(bench.next_tokens(_text(prompt), _keys(units), _dose(dose)))

        return _told(lost), _told(likely)

    def places(units: Any, dose: Any) -> str:
        return _told(lambda: links(bench, _keys(units), _dose(dose)))

    # checked in tests, it would be a plain function, and Gradio streams generators
    @no_type_check
    def written(prompt: Any, units: Any, dose: Any) -> Iterator[tuple[str, str]]:
        sides = {"raw": "", "turned": ""}
        yield "", ""
        try:
            for side, text in bench.continue_(_text(prompt), _keys(units), _dose(dose)):
                sides[side] = visible(text)
                yield sides["raw"], sides["turned"]
        except Exception as error:
            raise gr.Error(html.escape(_line(error)), print_exception=False) from error

    def restored(request: gr.Request) -> list[Any]:
        query = dict(request.query_params)
        # without a link nothing is sent: it would undo what is typed before it arrives
        return [*view_of(query, start, list(bench.units))] if "target" in query else [gr.skip()] * len(start)

    page: gr.Blocks = _Blocks(title=f"glossae · {model_name(bench.lm.name)}", analytics_enabled=False)
    with page:
        about = f"{own} against {other}, {bench.site}. "
        how = "A token has the more colour, the more a unit fires on it; point at it for the values."
        gr.HTML(f"<h1>Units of {escaped(model_name(bench.lm.name))}</h1><p>{escaped(about + how)}</p>")
        with gr.Row():
            units = gr.Dropdown(
                offered,
                value=start.units,
                multiselect=True,
                label="Units to turn",
                min_width=300,
                elem_id="units",
            )
            largest = ("the units to turn, by the largest", LARGEST)
            by = gr.Dropdown(
                [largest, *offered], value=LARGEST, label="Colour by", min_width=300, elem_id="by"
            )
        boxes: list[Any] = []
        tokens: list[Any] = []
        with gr.Row():
            drawn = colours(start.target, start.reference, start.units, LARGEST)
            for side, name, text, coloured_text in zip(SIDES, (own, other), start[:2], drawn, strict=True):
                with gr.Column(min_width=300):
                    box = gr.Textbox(text, label=f"{name} text", lines=2, max_length=LONGEST, elem_id=side)
                    boxes.append(box)
                    tokens.append(gr.HTML(coloured_text, elem_id=f"{side}-tokens"))
        scale = f"0: the model as it is. 1: as far as from {other} to {own}. Below 0: away from {own}."
        dose = gr.Slider(-FURTHEST, FURTHEST, DOSE, step=0.25, label="Dose", info=scale, elem_id="dose")
        begun = gr.Textbox(start.prompt, label="Beginning to continue", max_length=LONGEST, elem_id="prompt")
        with gr.Row():
            go = gr.Button("Continue", variant="primary", elem_id="go")
            stop = gr.Button("Stop", elem_id="stop")
        with gr.Row():
            raw = gr.Textbox(label="As it is", lines=2, interactive=False, min_width=300, elem_id="raw")
            turned = gr.Textbox(label="Turned", lines=2, interactive=False, min_width=300, elem_id="turned")
        lost, likely = effects(*start[:4], DOSE)
        with gr.Row():
            with gr.Column(min_width=300):
                losses = gr.HTML(lost, elem_id="losses")
            with gr.Column(min_width=300):
                next_ = gr.HTML(likely, elem_id="next")
        files = gr.HTML(places(start.units, DOSE), elem_id="links")
        link = gr.Textbox(label="Link to this view", interactive=False, buttons=["copy"], elem_id="link")

        # what Gradio adds to its components, such as `change`, is nothing that mypy sees
        turning: list[Any] = [*boxes, begun, units, dose]
        colouring: list[Any] = [*boxes, units, by]
        view: list[Any] = [*boxes, begun, units, by, dose]
        live: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
        # values are checked here: Gradio refuses an emptied field, and prints a traceback
        raw_values = {**live, "preprocess": False}
        gr.on([c.change for c in colouring], colours, colouring, tokens, **raw_values)
        gr.on([c.change for c in turning], effects, turning, [losses, next_], **raw_values)
        gr.on([c.change for c in turning[-2:]], places, turning[-2:], files, **raw_values)
        gr.on([c.change for c in view], None, view, link, js=_LINK, **live)
        page.load(restored, None, view, show_progress="hidden").then(None, view, link, js=_LINK)
        writing = gr.on(
            [go.click], written, turning[-3:], [raw, turned], trigger_mode="once", preprocess=False
        )
        stop.click(None, cancels=[writing])
    return page


def serve(page: gr.Blocks, bench: Workbench, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Serve the page, the run's report and pages of units, and knobs; gives the page and its address.

    Raises:
        GlossaeError: the port is taken, or the address is none of this machine's.
    """
    routes: list[Any] = [Route("/knob.safetensors", lambda request: _knob(bench, request))]
    if (bench.run.path / PAGES).is_dir():
        # nothing else of the run is served, and no link inside the folder is followed
        routes.append(Mount(f"/{PAGES}", StaticFiles(directory=bench.run.path / PAGES)))
    report = bench.run.path / REPORT
    if report.is_file() and not report.is_symlink():
        routes.append(Route(f"/{REPORT}", lambda _: FileResponse(report)))
    try:
        _, address, _ = page.queue().launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            footer_links=[],
            show_error=False,
            enable_monitoring=False,
            # on a busy machine Gradio's own check that the page answers, of 3 seconds, fails
            _frontend=False,
            # nothing is uploaded
            max_file_size=1,
            theme=_theme(),
            css=_STYLE,
            app_kwargs={"routes": routes, "middleware": [Middleware(_Refusing)]},
        )
    except OSError as error:
        raise GlossaeError(
            f"app: cannot be served at {host}, port {port or 'from 7860'} ({error})"
        ) from error
    return page, address


def _theme() -> gr.themes.Base:
    """Gradio's own theme with fonts of the machine, as others would be fetched, and greys of more contrast."""
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    colours = {"body_text_color_subdued": "*neutral_500", "button_primary_background_fill": "*primary_600"}
    theme: gr.themes.Base = gr.themes.Default(primary_hue="blue", **fonts).set(**colours)
    return theme


def _knob(bench: Workbench, request: Request) -> Response:
    """The units and dose of a request as the file of a knob."""
    try:
        dose = float(request.query_params.get("dose", "nan"))
        if not math.isfinite(dose):
            raise GlossaeError("dose: must be a finite number")
        knob = bench.knob([key for key in request.query_params.get("units", "").split(",") if key], dose)
        with tempfile.TemporaryDirectory() as folder:
            content = knob.save(Path(folder) / "knob.safetensors").read_bytes()
    except ValueError as error:
        return PlainTextResponse(str(error), 400)
    except Exception as error:
        return PlainTextResponse(_line(error), 400 if isinstance(error, GlossaeError) else 500)
    return Response(content, media_type="application/octet-stream")


def view_of(query: Mapping[str, str], start: View, keys: Sequence[str]) -> View:
    """The view of a link; what the link lacks, or what cannot be, is that of `start`.

    Args:
        query: the link's parameters.
        start: the view without a link.
        keys: of the units on offer.
    """
    dose = start.dose
    with suppress(ValueError):
        given = float(query.get("dose", ""))
        dose = min(FURTHEST, max(-FURTHEST, given)) if math.isfinite(given) else dose
    return View(
        query.get("target", start.target)[:LONGEST],
        query.get("reference", start.reference)[:LONGEST],
        query.get("prompt", start.prompt)[:LONGEST],
        [key for key in query["units"].split(",") if key in keys] if "units" in query else start.units,
        query["by"] if query.get("by") in keys else start.by,
        dose,
    )


def coloured(bench: Workbench, text: str, keys: Sequence[str]) -> str:
    """A text's tokens as HTML, coloured by the largest share that one of the units has of its whole colour."""
    tokens = bench.colour(text, keys)
    if not tokens:
        return '<p class="quiet">No text.</p>'
    cut = len(tokens) + len(bench.lm.prefix) >= bench.longest
    note = f'<p class="quiet">Read up to token {len(tokens)}.</p>' if cut else ""
    spans = "".join(_span(bench, token, chosen=bool(keys)) for token in tokens)
    return f'<p class="tokens" dir="auto">{spans}</p>{note}'


def _span(bench: Workbench, token: Token, *, chosen: bool) -> str:
    shares = [bench.units[key].share(value) for key, value in token.values.items()]
    values = [f"{bench.units[key].name}: {value:.3g}" for key, value in token.values.items()]
    title = ", ".join(values) or ("not read here: an attention sink" if chosen else "no unit is chosen")
    piece = escaped(token.text).replace("\n", "↵\n")
    return f'<span style="--share:{max(shares, default=0.0):.3f}" title="{escaped(title)}">{piece}</span>'


def losses_table(losses: Mapping[str, Loss]) -> str:
    """The losses of each language as a table."""
    rows = "".join(
        f"<tr><th scope=row>{escaped(language_name(code))}</th><td>{loss.tokens}</td><td>{loss.raw:.3f}</td>"
        f"<td>{loss.turned:.3f}</td><td>{loss.turned - loss.raw:+.3f}</td></tr>"
        for code, loss in losses.items()
    )
    return (
        "<table class=numbers><caption>Loss of the texts above, nats a token</caption><thead><tr><th>text</th>"
        f"<th>tokens</th><th>as it is</th><th>turned</th><th>change</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def next_tokens_table(tokens: Sequence[NextToken]) -> str:
    """The likeliest next tokens as a table with bars."""
    rows = "".join(
        f"<tr><th scope=row><code>{escaped(shown_token(token.text)).replace(' ', '␣')}</code></th>"
        + "".join(f'<td><i style="--share:{p:.3f}"></i>{p:.3f}</td>' for p in (token.raw, token.turned))
        + "</tr>"
        for token in tokens
    )
    return (
        "<table class=numbers><caption>Probability of the next token</caption><thead><tr><th>token</th>"
        f"<th>as it is</th><th>turned</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def links(bench: Workbench, keys: Sequence[str], dose: float) -> str:
    """Links to the knob of the chosen units, and to the pages that the run has.

    Raises:
        GlossaeError: a unit is not on offer.
    """
    bench.chosen(keys)
    found = []
    if keys:
        named = f"{bench.target}-{'-'.join(keys)}"[:80]
        found.append(
            f'<a href="knob.safetensors?units={",".join(map(escaped, keys))}&amp;dose={dose:g}" '
            f'download="{escaped(named)}.safetensors">Save these units at dose {dose:g} as a knob</a>'
        )
    pages = bench.run.path / PAGES
    if (pages / "index.html").is_file():
        found.append(f'<a href="{PAGES}/index.html" target=_blank>All units of the run</a>')
    for key in keys:
        if (pages / f"{key}.html").is_file():
            name = escaped(bench.units[key].name)
            found.append(f'<a href="{PAGES}/{escaped(key)}.html" target=_blank>Page of {name}</a>')
    return f"<p>{' · '.join(found)}</p>"


def _text(field: Any) -> str:
    """A field's text, at most `LONGEST` letters; half of a surrogate pair becomes a question mark."""
    expect(field, str | None, "text: expected a text")
    return str(field or "")[:LONGEST].encode("utf-8", "replace").decode()


def _keys(field: Any) -> list[Any]:
    """The chosen units; a field that was emptied is None."""
    expect(field, list | None, "units: expected a list")
    return list(field or [])


def _dose(field: Any) -> float:
    """The slider's value; a field that was emptied is None."""
    expect(field, int | float | None, "dose: expected a number")
    if not -FURTHEST <= (field or 0.0) <= FURTHEST:
        raise GlossaeError(f"dose: has to be from {-FURTHEST:g} to {FURTHEST:g}")
    return float(field or 0.0)


def _told(work: Any) -> str:
    """What `work` gives, or its error as a paragraph: a toast at each letter would be too much."""
    try:
        return str(work())
    except Exception as error:
        return f"<p role=alert>{escaped(_line(error))}</p>"


def _line(error: Exception) -> str:
    """What the page says of an error; a bug's traceback goes to a log, and its line to the terminal too."""
    if isinstance(error, GlossaeError):
        return str(error)
    line = bug(error)
    print(f"glossae: {one_line(line)}", file=sys.stderr, flush=True)
    # whoever looks at the page from elsewhere need not know this machine's folders
    return f"a bug of glossae ({type(error).__name__}): the terminal of the app says more"


def escaped(text: str) -> str:
    """Text as HTML that Gradio's own templates leave alone too."""
    return html.escape(visible(text)).replace("{", "&#123;").replace("$", "&#36;")
