"""What each stage does, counted: operations, bytes moved, bytes held. The arithmetic of a dry run.

It follows from what the stage's code does, and is named where it is counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glossae.plan.models import Shape
from glossae.plan.quantities import (
    BLOCK_OPERATIONS,
    LIVE,
    MATCHED,
    POOL_VALUES,
    SELECTING,
    STEP_OPERATIONS,
    TRAINED_ENTRY,
    UNTRAINED,
    Quantities,
    sentences_of,
    share_of,
    tokens_of,
)
from glossae.plan.replay import replay_work
from glossae.plan.tasks import tasks_work
from glossae.plan.texts import Amounts
from glossae.plan.work import Work
from glossae.text import OPTIONAL

# passes of the probes' solver over a layer's activations, for all penalties together: 150 to 350 were seen
SOLVER_PASSES = 220
# the float64 check reads and writes as much as this many passes, once a penalty
CHECK_PASSES = 7
# what a token and fit costs beside the products in each pass, in bytes moved: logits, losses and slopes in float64
ELEMENTWISE = 1000
# beyond this width the probes are not preconditioned by an eigendecomposition (probe.path)
MAX_EIGH_WIDTH = 4096
# pre-activations held at once in training, and checkpoints kept (glossae.sae)
VALUES_AT_ONCE, KEPT = 2**21, 2
# tokens of each language behind the evidence's directions (run.evidence_stage)
DIRECTION_TOKENS, PER_DIMENSION = 20_000, 8
# sentences of each language behind attribution, and random tokens (run.model_scores)
ATTRIBUTED_SENTENCES, RANDOM_TOKENS = 200, 2000
# of each latent, how many of another autoencoder's it is correlated with (features.stability)
CANDIDATES = 8
# sentences of a language that are told apart (run.identified_text); a regression by units of two kinds, and one by the
# whole activation, in seconds and seconds a dimension
IDENTIFIED, SECONDS_BY_UNITS, SECONDS_BY_COLUMN = 2_000, 0.4, 0.008
# doses measured until one has the KL that is looked for, and prompts in a batch (effects.same_damage, lm.generate)
LOOKED_FOR, PROMPTS_AT_ONCE = 3, 64
# sentences of a language on which controls are drawn (run.controls_stage)
FROZEN_SENTENCES = 200
# sentences of each language in the paper's own sweep (effects.sentence_means)
CODED = 250
# of the choice of a layer by the nearest language (run.layers): sentences of each language, passes of a probe's solver
# over them, candidates at most, and the short autoencoders' sizes, text, epochs and tokens a step
COMPARED_SENTENCES, COMPARING_PASSES, MOST_CANDIDATES = 60, 100, 4
SHORT_LATENTS, SHORT_K, SHORT_TOKENS, SHORT_EPOCHS, SHORT_STEP = (512, 2048), 64, 20_000, 2, 256
# tokens a second of a fast tokenizer on one core
TOKENIZED = 4e5


# sentences of a language on which sets are switched off, and doses that are tried to match a damage
SWITCHED_SENTENCES, DOSES_TRIED = 64, 5


@dataclass(frozen=True)
class Counting(Quantities):
    """The work of every stage of one recipe."""

    def corpora(self) -> Work:
        """Text into tokens."""
        tokens = sum(tokens_of(amounts) for amounts in self.roles.values())
        return Work(seconds=1 + tokens / TOKENIZED, weights=self.shape.weights, held=40 * tokens)

    def comparing(self) -> Work:
        """Every layer by the target's nearest other language, and short autoencoders at all candidates there may be."""
        shape, recipe, d = self.shape, self.recipe, self.shape.site_width(self.recipe.site)
        panel = self.roles.get("panel", self.roles["select"])
        # half of the panel, and the first sentences of that
        seen = [(a, share_of(a.sentences / 2, COMPARED_SENTENCES) / 2) for a in panel.values()]
        tokens = sum(amount.tokens * share for amount, share in seen)
        sentences = sum(amount.sentences * share for amount, share in seen)
        text = min(SHORT_TOKENS, self.train_tokens)
        steps, k = math.ceil(text / SHORT_STEP) * SHORT_EPOCHS, min(recipe.sae.k, SHORT_K)
        fits = recipe.probe.seeds * shape.layers
        work = self.forward(shape, 2 * tokens + text, shape.layers, output=False)
        work += Work(
            moved=4 * 8 * sentences * d * fits * COMPARING_PASSES, held=4 * sentences * d * (shape.layers + 4)
        )
        for m in [m for m in SHORT_LATENTS if m <= self.latents] or [self.latents]:
            one = Work(
                float_flops=2 * d * m * text * SHORT_EPOCHS,
                moved=text * SHORT_EPOCHS * (SELECTING * m + TRAINED_ENTRY * d * k) + steps * 2 * d * m * 40,
                operations=steps * STEP_OPERATIONS,
                held=4 * MOST_CANDIDATES * text * d + 18 * 2 * d * m,
            )
            for _ in range(MOST_CANDIDATES):
                work += one + self.encodings(tokens, d, m, [k])
        return work

    def probe(self, model: str, shape: Shape, held_weights: float) -> Work:
        """Every layer of one model (its name), with `held_weights` of other models held meanwhile."""
        recipe, rows, width = self.recipe, self.probe_tokens, shape.site_width(self.recipe.site)
        published = recipe.by_the_paper
        matrix = 4 * rows * width
        fits = 2 if published else 1
        penalties = self.penalties
        layer = Work(
            moved=matrix * (SOLVER_PASSES + CHECK_PASSES * penalties + 10 * fits)
            + ELEMENTWISE * rows * recipe.probe.seeds * SOLVER_PASSES,
            held=5 * matrix,
        )
        if width <= MAX_EIGH_WIDTH:
            # second moments, and their eigenvectors in float64
            layer += Work(
                float_flops=fits * (2 * rows * width**2 + 20 * width**3), held=5 * matrix + 24 * width**2
            )
        count = shape.layers
        # a layer's activations wait on disk in the model's precision
        collected = self.forward(shape, rows, count, output=False)
        scratch = rows * width * count
        solved = replace(layer, moved=layer.moved * count, float_flops=layer.float_flops * count)
        solved = replace(solved, operations=10 * SOLVER_PASSES * count, weights=shape.weights)
        work = collected + solved
        if recipe.replays_probes:
            length = self.train_tokens / max(1.0, sentences_of(self.roles["train"], self.pair))
            work += collected + solved
            work += replay_work(model, count, width, len(recipe.probe.lambdas), recipe.probe.seeds, length)
        return replace(work, weights=work.weights + held_weights, scratch=scratch)

    def training(self, shape: Shape, depth: int, m: int, live: Sequence[float], tied: Sequence[bool]) -> Work:
        """Training autoencoders of m latents in one pass of a model over the text.

        Args:
            shape: the model's.
            depth: blocks that its passes go through.
            m: latents of each.
            live: how many are live at a token, in each.
            tied: whether each has one matrix or two.
        """
        recipe, d, count = self.recipe, shape.site_width(self.recipe.site), len(live)
        tokens = self.train_tokens * recipe.sae.epochs
        weights = sum(d * m if one else 2 * d * m for one in tied)
        free = recipe.by_the_paper or not recipe.sae.unit_rows
        pool = 0 if recipe.sae.batch_sentences else 4 * min(POOL_VALUES, self.train_tokens * d)
        passes = self.forward(shape, tokens, depth, output=False)
        steps = Work(
            float_flops=2 * d * m * tokens * count,
            moved=tokens * (SELECTING * m * count + TRAINED_ENTRY * d * sum(live))
            # Adam reads and writes weights, gradients and two moments; then decoder rows are kept at length 1
            + self.steps * weights * (40 + (0 if free else 24)),
            operations=self.steps * STEP_OPERATIONS * count,
            # weights and two moments
            checkpoints=0 if recipe.sae.checkpoint is None else KEPT * (12 * weights + 4 * pool),
        )
        # weights, gradients, two moments, and one more while a gradient is made or rows are scaled; pre-activations
        # and what is made of them
        held = 4 * weights * (4 if free else 4.5) + 4 * pool
        held += 12 * min(self.step_tokens * m * count, max(VALUES_AT_ONCE, self.step_tokens * m))
        return replace(passes + steps, held=passes.held + held)

    def grid(self, shape: Shape) -> Work:
        """Training every autoencoder of the grid in one pass, and measuring all of them on `select` in another."""
        recipe = self.recipe
        d, depth = shape.site_width(recipe.site), self.grid_depth(shape)
        m, kinds = recipe.grid.size(d), self.grid_kinds(d)
        select = tokens_of(self.roles["select"])
        live = [live for live, _ in kinds]
        train = self.training(shape, depth, m, live, [tied for _, tied in kinds])
        look = self.forward(shape, select, depth, output=False) + self.encodings(select, d, m, live)
        work = train + look
        own = (
            shape.weights if recipe.grid.model in (None, recipe.model) else shape.weights + self.shape.weights
        )
        return replace(work, weights=own)

    def grid_depth(self, shape: Shape) -> int:
        """Blocks that a pass to the grid's site goes through."""
        layer = self.recipe.layer if self.recipe.grid.layer is None else self.recipe.grid.layer
        return shape.layers if layer == "auto" else min(layer + 1, shape.layers)

    def grid_kinds(self, d: int) -> list[tuple[float, bool]]:
        """Of every autoencoder of the grid, the latents live at a token and whether it is tied."""
        grid = self.recipe.grid
        live = [*map(float, grid.k), *(LIVE * grid.size(d) for _ in grid.l1)]
        return [(each, tied) for each in live for tied in grid.tied for _ in grid.pre_encoder_bias]

    def sae(self) -> Work:
        """Training, unless an autoencoder is given, and the measurement on `select`: at most so much of it."""
        train = Work()
        if self.recipe.sae.from_ is None:
            train = self.training(self.shape, self.depth, self.latents, [self.live], [self.recipe.sae.tied])
        train = replace(train, written=4 * (1 if self.recipe.sae.tied else 2) * self.d_in * self.latents)
        seen, spliced = self.fidelity_tokens
        look = self.forward(self.shape, seen, self.depth, output=False) + self.encode(seen)
        codes = self.encode(spliced)
        losses = self.forward(self.shape, spliced, self.shape.layers, output=True) + codes
        losses += self.forward(self.shape, 2 * spliced, self.above, output=True)
        losses = replace(losses, held=losses.held + codes.held)
        return train + look + losses

    def evidence(self) -> Work:
        """One pass over text of train for directions, and one over each panel; every unit's tests; other scores."""
        panels = [self.roles[role] for role in OPTIONAL if role in self.roles]
        text = panels if "panel" in self.roles else [self.roles["select"], *panels]
        tokens, sentences = sum(map(tokens_of, text)), sum(map(sentences_of, text))
        passes = self.forward(self.shape, tokens + self._directions_from, self.depth, output=False)
        # neurons of both signs are in the table at every sentence, latents at those where they fire
        entries = sentences * 2 * self.d_in + min(tokens * self.live, sentences * self.latents)
        draws = 2 * self.recipe.evidence.permutations * max(1, len(text[0]) - 1)
        tests = Work(float_flops=2 * entries * draws / 2, moved=entries * 400, held=entries * 60, seconds=2)
        return passes + self.encode(tokens) + tests + self._model_scores(text[0]) + self._identification(text)

    def _model_scores(self, panel: Amounts) -> Work:
        """A forward and a backward pass over some of the panel for attribution, and one pass over random tokens."""
        if not self.recipe.evidence.scores:
            return Work()
        attributed = sum(
            a.tokens * min(1.0, ATTRIBUTED_SENTENCES / max(1.0, a.sentences)) for a in panel.values()
        )
        # a backward pass through the whole model costs two forward ones
        asked = self.forward(self.shape, 3 * attributed, self.shape.layers, output=True)
        drawn = self.forward(self.shape, RANDOM_TOKENS, self.depth, output=False)
        return asked + drawn + self.encode(attributed + RANDOM_TOKENS)

    def stability(self) -> Work:
        """Trainings with other seeds; of each, a pass over the half where it is tested, and one where it is matched."""
        m, d = self.latents, self.d_in
        panel = self.roles.get("panel", self.roles["select"])
        tokens, sentences = tokens_of(panel), sentences_of(panel)
        train = self.training(self.shape, self.depth, m, [self.live], [self.recipe.sae.tied])
        passes = self.forward(self.shape, tokens, self.depth, output=False)
        # the new autoencoder on both halves, the run's own on the half where they are matched
        codes = self.encode(tokens) + self.encode(tokens / 2)
        entries = min(tokens / 2 * self.live, sentences / 2 * m)
        tests = Work(moved=entries * 400, held=entries * 60, seconds=1)
        weights = 4 * (1 if self.recipe.sae.tied else 2) * d * m
        match = Work(
            float_flops=2 * d * m * m,
            # a latent's products with its candidates at every token where it fires
            moved=tokens / 2 * self.live * CANDIDATES * 40,
            held=2 * weights + 8 * m * CANDIDATES * 3,
            written=weights,
        )
        # one after the other, so that no more is held than for one
        return sum([train + passes + codes + tests + match] * self.recipe.evidence.seeds, Work())

    def _identification(self, text: list[Amounts]) -> Work:
        """Another pass over a sample of each half, and the regressions of every set of languages."""
        languages = len(text[0])
        if not self.recipe.evidence.identify or languages < 2:
            return Work()
        # no more than 2,000 sentences of a language are read of a half, or of the other text (run.identified_text)
        read = sum(
            a.tokens * min(1.0, halves * IDENTIFIED / max(1.0, a.sentences))
            for halves, amounts in zip((2, 1, 1), text, strict=False)
            for a in amounts.values()
        )
        passes = self.forward(self.shape, read, self.depth, output=False)
        # the pair and all together by every number of units, each other language by one; sentences and tokens
        sets = len(self.recipe.evidence.identify_units) * min(2, languages - 1) + languages - 2
        seconds = sets * 2 * 2 * SECONDS_BY_UNITS + languages * 2 * self.d_in * SECONDS_BY_COLUMN
        return passes + Work(seconds=seconds)

    def features(self) -> Work:
        """Two passes over `select`, and one of each text that is shown."""
        select = tokens_of(self.roles["select"])
        codes = self.encode(2 * select)
        passes = self.forward(self.shape, 2 * select, self.depth, output=False)
        shown = 2 * self.recipe.report.texts * self.depth * BLOCK_OPERATIONS
        counters = 40 * self.latents * max(1, len(self.roles["select"]))
        return replace(
            passes + codes + Work(operations=shown, seconds=1), held=passes.held + codes.held + counters
        )

    def baselines(self) -> Work:
        """Both halves of the panel through every autoencoder; then the sets, on text of `test` that they touch."""
        asked, pair = self.recipe.baselines, self.pair
        count = 1 + asked.trained + asked.frozen + asked.untrained
        panel = self.roles.get("panel", self.roles["select"])
        tokens = tokens_of(panel) + tokens_of(self.roles.get("replicate", {}))
        passes = self.forward(self.shape, tokens, self.depth, output=False)
        if asked.lape:
            passes += self.forward(self.shape, tokens_of(panel) / 2, self.shape.layers, output=False)
        codes = self.encodings(tokens, self.d_in, self.latents, [self.live] * count)
        sentences = sum(min(SWITCHED_SENTENCES, a.sentences) for a in self.roles["test"].values())
        share = min(1.0, sentences / max(1.0, sentences_of(self.roles["test"])))
        raw = share * tokens_of(self.roles["test"])
        # latents of the target touch its own text, and hardly any other
        touched = share * tokens_of(self.roles["test"], pair[:1])
        sets = (count + 1) * len(asked.sizes) + 2 + (len(asked.sizes) + 1) * asked.lape
        searched = DOSES_TRIED * 5 * len(asked.damage)
        passes += self.forward(self.shape, raw, self.shape.layers, output=True)
        passes += self.forward(self.shape, (sets + searched) * touched, self.above, output=True)
        return replace(passes + codes, held=passes.held + codes.held)

    def effects(self) -> Work:
        """The raw model, and from the site on every edit of every set, on each text; the best dose; the prompts."""
        effects, edits = self.recipe.effects, self.edits + self.compared
        texts = [self.measured(role) for role in ("test", "panel") if role in self.roles]
        tokens = sum(map(tokens_of, texts))
        target = sum(tokens_of(text, self.pair[:1]) for text in texts)
        tuned = tokens_of(self.measured("tune"), self.pair[:1]) if effects.tune else 0.0
        # the selected latents' error-preserving edits are tried on tune beside the other sets'
        tried = tuned * (self.edits // 2 + self.cheaper) + target * self.ways * MATCHED * DOSES_TRIED
        read = self._direction_reading() + self._latent_reading()
        codes = self._sets_encoding(tokens + tuned)
        passes = self.forward(self.shape, tokens + tuned, self.shape.layers, output=True)
        passes += self.forward(self.shape, edits * tokens + tried, self.above, output=True)
        # KL and agreement: another softmax of the logits of the reference's sentences of test
        passes += Work(moved=16 * self.shape.vocabulary * edits * tokens_of(texts[0], self.pair[1:]))
        work = replace(passes + codes + read, held=passes.held + codes.held)
        # resamples behind the intervals, drawn on the CPU, of each language for each set's cells and curves
        resampling = 1 + 3e-8 * effects.bootstrap * sum(map(sentences_of, texts)) * 4 * len(effects.families)
        work += Work(seconds=resampling)
        if self.recipe.protocol == "as_coded":
            work += self._as_coded()
        if self.recipe.effects.prompts:
            # eight prompts, raw and at two doses, some twelve new tokens each; every token reads all weights
            new = 8 * 3 * 12
            work += Work(
                moved=4 * new * (self.shape.weights + 2 * self.d_in * self.latents / 3),
                operations=new * self.shape.layers * BLOCK_OPERATIONS * 2,
            )
        return work

    def _as_coded(self) -> Work:
        """Some sentences of the pair once more to the site, and from there on at every dose, by another code."""
        test = (self.roles["test"][code] for code in self.pair if code in self.roles["test"])
        tokens = sum(a.tokens * share_of(a.sentences, CODED) for a in test)
        doses = len({0.0, *self.recipe.effects.values}) + 1
        once = self.forward(self.shape, tokens, self.depth, output=False) + self.encode(tokens)
        return once + self.forward(self.shape, doses * tokens, self.above, output=True)

    def steering(self) -> Work:
        """Means on `select`; every arm's continuations, their loss, and its KL on whole sentences."""
        settings, reference = self.recipe.steering, (self.pair[1],)
        there = sentences_of(self.roles["test"], reference)
        prompts = min(settings.prompts, there) + 4
        sentences = min(settings.prompts, there) / max(1.0, there) * tokens_of(self.roles["test"], reference)
        families, layers = len(settings.families), self.shape.layers
        arms = 1 + families * (len(settings.values) + len(settings.kl))
        measured = families * (len(settings.values) + LOOKED_FOR * len(settings.kl))
        written = prompts * (settings.prompt_tokens + settings.tokens)
        means = self.forward(self.shape, tokens_of(self.roles["select"], self.pair), self.depth, output=False)
        passes = self.forward(
            self.shape, arms * 2 * written + (1 + measured) * sentences, layers, output=True
        )
        codes = self.encode(arms * written + measured * sentences)
        # every token of a batch of prompts reads all weights
        steps = arms * settings.tokens * math.ceil(prompts / PROMPTS_AT_ONCE)
        work = means + passes + codes
        work += Work(
            moved=4 * steps * (self.shape.weights + 2 * self.d_in * self.latents),
            operations=steps * layers * BLOCK_OPERATIONS * 2,
            # both identifiers' models, and their reading of every continuation
            seconds=10 + arms * prompts / 2000,
        )
        return replace(work, held=passes.held + codes.held)

    def tasks(self) -> Work:
        """Every task under every edit: layers below the site once, those above it for each."""
        settings = self.recipe.tasks
        if settings.names is None:
            return Work()
        return tasks_work(self.recipe, self.shape, self.depth, self.forward, self.encode)

    def _direction_reading(self) -> Work:
        """Text of train, which neurons are ranked on and directions made from."""
        if not {"neuron", "direction"} & set(self.recipe.effects.families):
            return Work()
        return self.forward(self.shape, self._directions_from, self.depth, output=False) + Work(seconds=1)

    @property
    def _directions_from(self) -> float:
        """Tokens of train that directions are made from."""
        return min(self.train_tokens, 2 * min(DIRECTION_TOKENS, PER_DIMENSION * self.d_in))

    def _latent_reading(self) -> Work:
        """Text on which the run's rule chooses other latents: `select`, and half of the panel."""
        if "latent" not in self.recipe.effects.families:
            return Work()
        select, tested = tokens_of(self.roles["select"]), self.recipe.features.rule == "tested"
        work = self.forward(self.shape, select, self.depth, output=False) + self._sets_encoding(select)
        # other languages' latents, and what is tested of random weights, one autoencoder after the other
        passes = (1 if "panel" in self.roles else 0) + (UNTRAINED if tested else 0)
        half = passes * tokens_of(self.roles.get("panel", self.roles["select"])) / 2
        return work + self.forward(self.shape, half, self.depth, output=False) + self.encode(half)

    def _sets_encoding(self, tokens: float) -> Work:
        """The encoders of the trained autoencoder and, where other latents are measured, of random weights."""
        count = 1 + (UNTRAINED if "latent" in self.recipe.effects.families else 0)
        return self.encodings(tokens, self.d_in, self.latents, [self.live] * count)

    @property
    def drawn(self) -> int:
        """Edits of the controls: matched latents under each that is asked for, and random directions.

        Random directions are drawn for the selected latents, the best neuron and each direction.
        """
        effects = self.recipe.effects
        redirected = 1 + ("neuron" in effects.families) + 2 * ("direction" in effects.families)
        return effects.controls * (len(effects.controls_edits) + redirected)

    def controls(self) -> Work:
        """The frozen sentences to the site once, and from there on under every draw."""
        wanted = (*self.pair, *self.recipe.effects.controls_on)
        pair = [self.roles["test"][code] for code in wanted if code in self.roles["test"]]
        tokens = sum(a.tokens * share_of(a.sentences, FROZEN_SENTENCES) for a in pair)
        once = self.forward(self.shape, tokens, self.shape.layers, output=True) + self._sets_encoding(tokens)
        every = self.forward(self.shape, self.drawn * tokens, self.above, output=True)
        # a number for each draw and sentence
        losses = Work(held=8 * self.drawn * len(pair) * FROZEN_SENTENCES)
        return once + every + self._direction_reading() + losses

    def report(self) -> Work:
        """Figures and the page, on the CPU."""
        return Work(seconds=15)
