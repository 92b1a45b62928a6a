"""Textual inversion and DreamBooth on the small world: individuals that no caption describes; means, 95 % intervals.

Each individual is an animal in colours that its kind never has, drawn by the renderer in five scenes, which are all
that a method sees. Then it is asked for in poses and places that were not among the five. Identity: where the colours
of a picture lie between the ordinary animal's, 0, and the individual's, 1, by least squares on true pictures of both.
Pose and place, kind: how often the judge reads those of the prompt, in %. Leak: the identity of what the bare noun ("a
plain picture of a zebra") draws; 0 is right. Drift: how far the bare noun's pictures moved, the same noise before and
after, in the judge's features; the first row's is the distance between two of them from different noise.

`python -m tests.bench personalize` prints this table, `personalize_sweep` the settings' sweep, the curves over steps
with it. Scores are kept in the user's cache for these settings, weights and algorithms, so that a broken run goes on
where it was; PERSONALIZE_INDIVIDUALS=3 takes only the first three.
"""

import hashlib
import inspect
import os
import warnings
from functools import cache, cached_property
from itertools import product
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor

import kit
from kit.diffusion import denoising, personalize, training
from kit.world import PLACES, WEIGHTS, load_judge, render, rendering, rigs
from kit.world.caption import say
from kit.world.rigs import Coat
from tests.bench.bench_diffedit import Kept, interval

WHITE, BLACK, BLUE, DEEP = (0.97, 0.96, 0.94), (0.12, 0.10, 0.12), (0.20, 0.50, 0.86), (0.11, 0.30, 0.62)
GOLD, BROWN = (0.96, 0.76, 0.36), (0.50, 0.25, 0.10)
INDIVIDUALS = {
    "golden zebra": ("zebra", Coat(GOLD, BROWN, BROWN)),
    "blue horse": ("horse", Coat(BLUE, BLACK, GOLD)),
    "pale giraffe": ("giraffe", Coat(WHITE, BLACK, BLACK)),
    "golden cow": ("cow", Coat(GOLD, BROWN, BROWN)),
    "blue dog": ("dog", Coat(BLUE, BLACK, WHITE)),
    "pied bird": ("bird", Coat(BROWN, WHITE, BLACK)),
    "white horse": ("horse", Coat(WHITE, BLACK, BLACK)),
    "blue cow": ("cow", Coat(BLUE, WHITE, DEEP)),
}
SEEN = [("standing", "meadow"), ("sitting", "desert"), ("jumping", "snow"), ("standing", "night"), ("sitting", "snow")]
UNSEEN = [pair for pair in product(("standing", "sitting", "jumping"), PLACES) if pair not in SEEN]
WORD, RARE = "<it>", "ohwx"  # S*, and the rare token V
TEMPLATES = [f"a plain {picture} of {article} {{}}" for picture in ("picture", "drawing") for article in ("a", "the")]
NOUN = TEMPLATES[0]
GUIDANCE, STEPS, SEED, DRAWS, EACH, PRIOR = 3.0, 15, 1 << 43, 4, 1, 40
MODULES = denoising, training, rendering, rigs
METHODS = personalize.invert, personalize.dreambooth, personalize._Inversion, personalize._WithPrior
PLANS = {"textual inversion": personalize.SMALL_INVERSION, "DreamBooth": personalize.SMALL_DREAMBOOTH}


@cache
def world():
    models = kit.load("world", device="cpu")
    models.unet.set_attn_processor(AttnProcessor())  # on a CPU the fused attention's backward pass is twice as slow
    return models


@cache
def judge():
    return load_judge()


def scenes(kind, pairs, seed):
    """A plain scene of the kind for each (pose, place)."""
    pose, place = zip(*pairs, strict=True)
    return kit.sample_scenes(len(pairs), seed, species=kind, style="plain").replace(pose=pose, place=place)


def drawn(models, texts, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not know "ohwx" is what a rare token is for
        return kit.generate(models, texts, guidance=GUIDANCE, steps=STEPS, seed=seed, batch=16)


def told(text):
    """The embedding (1, L, d) of a text with the rare token."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return world().embed(text).detach()


def histogram(pictures, bins=4):
    """The share (n, bins^3) of each colour in pictures (n, 3, h, w); a pixel counts for the eight nearest colours."""
    c = pictures.flatten(2) * (bins - 1)
    near = (1 - (c[:, :, None] - torch.arange(bins).view(-1, 1)).abs()).clamp(min=0)  # (n, 3, bins, pixels)
    return torch.einsum("nap,nbp,ncp->nabc", *near.unbind(1)).flatten(1) / c.shape[-1]


def prompts(word, pairs):
    """A plain picture of the word in each pose and place."""
    return [say({"species": word, "pose": pose, "place": place, "style": "plain"}) for pose, place in pairs]


def followed(pictures, kind, pairs):
    """{score: numbers}, what the judge reads: pose and place as told, and the kind."""
    verdict, (poses, places) = judge().read(pictures), zip(*pairs, strict=True)
    told = verdict.agrees("pose", poses) & verdict.agrees("place", places)
    return {"pose and place": told.double().tolist(), "kind": verdict.agrees("species", kind).double().tolist()}


class Identity:
    """Called on pictures (n, 3, h, w): (n,), 0 for the colours of the ordinary animal and 1 for the individual's."""

    def __init__(self, kind, coat, n=60, seed=SEED + 1, ridge=1e-4):
        ordinary, own = (histogram(held(kind, each, n, seed)) for each in (None, coat))
        both, self.middle = torch.cat([ordinary, own]), (ordinary.mean(0) + own.mean(0)) / 2
        x, y = both - self.middle, torch.tensor([-0.5] * n + [0.5] * n)
        self.weights = torch.linalg.solve(x.T @ x / n + ridge * torch.eye(x.shape[1]), x.T @ y / n)

    def __call__(self, pictures):
        return (histogram(pictures) - self.middle) @ self.weights + 0.5


def held(kind, coat, n, seed):
    """n true pictures as the world's latents hold them."""
    true, _ = render(kit.sample_scenes(n, seed, species=kind, style="plain"), coat=coat)
    return through(true)


def through(pictures):
    """Pictures there and back through the autoencoder."""
    return torch.cat([world().decode(world().encode(part)) for part in pictures.split(20)])


class Case:
    """One individual: its five pictures' latents, the identity, and what its bare noun draws."""

    def __init__(self, name):
        self.kind, self.coat = INDIVIDUALS[name]
        with torch.no_grad():
            self.identity = Identity(self.kind, self.coat)
            self.noun = self.of_noun(world())
        true, _ = render(scenes(self.kind, SEEN, SEED), coat=self.coat)
        self.x0 = world().encode(true).detach()

    def of_noun(self, models):
        return drawn(models, [NOUN.format(self.kind)] * 8, SEED + 100)

    def invert(self, plan, draws=DRAWS):
        embed, prompts = world().new_word(WORD), [text.format(WORD) for text in TEMPLATES]
        begin = world().word_vector(self.kind)
        return personalize.invert(
            world().network, world().denoising, embed, self.x0, prompts, begin, plan=plan, draws=draws
        )

    @cached_property
    def prior(self):
        """Latents that the frozen network draws for the noun."""
        return world().encode(drawn(world(), [NOUN.format(self.kind)] * PRIOR, SEED + 200)).detach()

    def dreambooth(self, plan, weight, prior_x0):
        cond, prior_cond = told(NOUN.format(f"{RARE} {self.kind}")), told(NOUN.format(self.kind))
        return personalize.dreambooth(
            world().network, world().denoising, self.x0, cond, prior_x0, prior_cond,
            plan=plan, prior_weight=weight, draws=DRAWS,
        )  # fmt: skip

    @torch.no_grad()
    def scores(self, models, word):
        """{score: numbers} of a model that calls the individual `word`."""
        pairs = UNSEEN * EACH
        pictures, noun = drawn(models, prompts(word, pairs), SEED + 300), self.of_noun(models)
        before, after = (judge().read(each).features for each in (self.noun, noun))
        drift = (after if models is not world() else before.roll(1, 0)) - before
        return followed(pictures, self.kind, pairs) | {
            "identity": self.identity(pictures).tolist(),
            "leak": self.identity(noun).tolist(),
            "drift": drift.norm(dim=1).tolist(),
        }

    @torch.no_grad()
    def true_scores(self):
        """What a perfect method would score: true pictures, as the latents hold them."""
        own, ordinary = (
            through(render(scenes(self.kind, UNSEEN, SEED + 3), coat=each)[0]) for each in (self.coat, None)
        )
        found = {"identity": self.identity(own).tolist(), "leak": self.identity(ordinary).tolist()}
        return found | followed(own, self.kind, UNSEEN)


@cache
def case(name):
    return Case(name)


def last(states):
    *_, end = states
    return end


def inverted(vector):
    return world().with_word(WORD, vector)


def textual_inversion(one):
    return inverted(last(one.invert(personalize.SMALL_INVERSION)).vector), WORD


def with_prior(weight):
    def way(one):
        tuned = last(one.dreambooth(personalize.SMALL_DREAMBOOTH, weight, one.prior))
        return world().with_network(tuned.network), f"{RARE} {one.kind}"

    return way


TRUE = "true pictures"
WAYS = {
    "before, by the noun": lambda one: (world(), one.kind),
    "textual inversion": textual_inversion,
    "DreamBooth, λ = 0": with_prior(0.0),
    "DreamBooth, λ = 0.5": with_prior(personalize.SMALL_PRIOR_WEIGHT),
    "DreamBooth, λ = 1": with_prior(1.0),
}


def file():
    """Where scores are kept: a file of these settings, weights and algorithms, so that others are not mixed in."""
    made = hashlib.sha256(repr((GUIDANCE, STEPS, SEED, DRAWS, EACH, PRIOR, SEEN, TEMPLATES, RARE)).encode())
    for source in (WEIGHTS / "card.json", *(Path(module.__file__) for module in MODULES)):
        made.update(source.read_bytes())
    for method in METHODS:
        made.update(inspect.getsource(method).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "walkthrough-kit" / "bench" / f"personalize-{made.hexdigest()[:12]}.json"


@cache
def kept():
    return Kept(file())


def scores_of(way, name):
    def work():
        return case(name).true_scores() if way == TRUE else case(name).scores(*WAYS[way](case(name)))

    return kept().take(f"{way}, {name} {PLANS.get(way.partition(',')[0], '')}", work)


def run():
    names = list(INDIVIDUALS)[: int(os.environ.get("PERSONALIZE_INDIVIDUALS", len(INDIVIDUALS)))]
    found = {way: {} for way in (*WAYS, TRUE)}
    for name in names:
        for way in found:
            for score, values in scores_of(way, name).items():
                found[way].setdefault(score, []).extend(values)
    return [{"way": way, **row(scores)} for way, scores in found.items()]


SHOWN = {"identity": (1, 2), "pose and place": (100, 0), "kind": (100, 0), "leak": (1, 2), "drift": (1, 1)}


def row(found):
    return {
        name: interval(torch.tensor(found[name]) * times, digits) if name in found else ""
        for name, (times, digits) in SHOWN.items()
    }
