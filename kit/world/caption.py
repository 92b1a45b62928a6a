"""Scenes to words and back. A caption mentions any subset of the four attributes, so that what it leaves open stays
open; an empty caption means anything.

    say({"species": "dog", "pose": "sitting", "place": "night"})  ->  "a dog sitting at night"
    parse("a dog sitting at night")  ->  {"species": "dog", "pose": "sitting", "place": "night"}
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from kit.world.scene import ATTRIBUTES, Scenes, poses_of

# The ways to say a word of an attribute; the first is the plainest.
POSE_PHRASES = {
    "standing": ("standing", "standing still"),
    "sitting": ("sitting", "sitting down"),
    "jumping": ("jumping", "jumping high"),
    "spreading its wings": ("spreading its wings", "with its wings spread"),
}
PLACE_PHRASES = {
    "meadow": ("in a meadow", "in the meadow"),
    "desert": ("in the desert", "in a desert"),
    "snow": ("in the snow", "on snow"),
    "night": ("at night", "by night"),
}
STYLE_PHRASES = {
    "plain": ("a plain picture of", "a plain drawing of"),
    "sketch": ("a sketch of", "a pencil sketch of"),
    "watercolour": ("a watercolour of", "a watercolour painting of"),
}
# Each word that decides an attribute; every other word of the vocabulary is grammar.
_MEANS = {
    **{word: ("species", word) for word in ATTRIBUTES["species"]},
    **{word: ("place", word) for word in ATTRIBUTES["place"]},
    **{word: ("style", word) for word in ATTRIBUTES["style"]},
    **{word: ("pose", word) for word in ATTRIBUTES["pose"][:3]},
    "spreading": ("pose", "spreading its wings"),
    "spread": ("pose", "spreading its wings"),
}
_GRAMMAR = "a an the animal of in on at by it its with wings picture drawing painting pencil down still high"
VOCABULARY = tuple(sorted({*_MEANS, *_GRAMMAR.split()}))
CONTEXT = 16  # tokens: the longest caption has 14, with its start and end


def say(attributes: dict[str, str], phrasing: int = 0) -> str:
    """A caption that mentions the given attributes, in one of its phrasings (any integer: each bit is a choice)."""
    style, pose, place = (
        phrases[attributes[name]][(phrasing >> bit) % 2] if name in attributes else ""
        for bit, (name, phrases) in enumerate(
            {"style": STYLE_PHRASES, "pose": POSE_PHRASES, "place": PLACE_PHRASES}.items()
        )
    )
    species = attributes.get("species", "animal" if style or pose or place else "")
    one_word = pose if " " not in pose else ""
    if one_word and (phrasing >> 3) % 4 == 3:  # "a jumping horse"
        noun = f"{_article(one_word)} {one_word} {species}"
    else:
        noun = f"{_article(species)} {species} {pose}" if species else ""
    ahead = place and not style and (phrasing >> 5) % 4 == 3  # "in the snow, a jumping horse"
    words = f"{place}, {noun}" if ahead else f"{style} {noun} {place}"
    return " ".join(words.split())


def captions(scenes: Scenes, seed: int, mention: Sequence[str] | None = None) -> list[str]:
    """One caption for each of n scenes. Without `mention` every attribute is named or left open at random: the species
    nine times in ten, pose and place three in four, style one in two; with it, just those are named."""
    if mention is not None and set(mention) - set(ATTRIBUTES):
        raise ValueError(f"captions: got mention={list(mention)}, wanted some of {', '.join(ATTRIBUTES)}")
    random = torch.Generator().manual_seed(seed)
    odds = dict(zip(ATTRIBUTES, (0.9, 0.75, 0.75, 0.5), strict=True))
    luck = torch.rand(len(scenes), len(odds), generator=random).tolist()
    phrasings = torch.randint(128, (len(scenes),), generator=random).tolist()

    def caption(i: int) -> str:
        named = mention if mention is not None else [a for a, u in zip(odds, luck[i], strict=True) if u < odds[a]]
        return say({name: getattr(scenes, name)[i] for name in named}, phrasings[i])

    return [caption(i) for i in range(len(scenes))]


def parse(caption: str) -> dict[str, str]:
    """The attributes that a caption names: the inverse of `say`, for any order of words.

    Raises ValueError that names words outside the vocabulary and lists the known ones, or two words that contradict
    each other ("a horse zebra", "a cow spreading its wings")."""
    if unknown := unknown_words(caption):
        raise ValueError(
            f"parse: got {', '.join(map(repr, unknown))} in {caption!r}, "
            f"wanted words of the small world: {', '.join(VOCABULARY)}"
        )
    found: dict[str, str] = {}
    for word in _words(caption):
        name, value = _MEANS.get(word, (None, None))
        if name and found.setdefault(name, value) != value:
            raise ValueError(f"parse: got both {found[name]!r} and {value!r} in {caption!r}, wanted one {name}")
    species, pose = found.get("species"), found.get("pose")
    if species and pose and pose not in poses_of(species):
        raise ValueError(
            f"parse: got a {species} {pose} in {caption!r}, wanted a {species} {', '.join(poses_of(species))}"
        )
    return {name: found[name] for name in ATTRIBUTES if name in found}


def unknown_words(caption: str) -> list[str]:
    """The words of a caption that the small world does not know, in order."""
    return [word for word in dict.fromkeys(_words(caption)) if word not in VOCABULARY]


def matches(attributes: dict[str, str], scenes: Scenes) -> torch.Tensor:
    """(n,) bool: which scenes a caption with these attributes is true of."""
    return torch.tensor(
        [all(getattr(scenes, name)[i] == value for name, value in attributes.items()) for i in range(len(scenes))]
    )


def _words(caption: str) -> list[str]:
    return re.findall(r"[^\s,.]+", caption.lower())


def _article(word: str) -> str:
    return "an" if word[:1] == "a" else "a"


def save_tokenizer(folder: str | Path) -> None:
    """Writes a `CLIPTokenizer` for the vocabulary: every known word is one token; any other falls apart into letters,
    as a rare word does in CLIP. Token 0 starts a text, token 1 ends and pads it."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in VOCABULARY:
        # Join a word's pieces from the left until one is left. A new merge ranks below all others, so it cannot
        # change how an earlier word comes together.
        while len(pieces := _pieces(word, merges)) > 1:
            merges.append((pieces[0], pieces[1]))
            vocabulary.append(pieces[0] + pieces[1])
    tokenizer = CLIPTokenizer(
        vocab={token: i for i, token in enumerate(vocabulary)},
        merges=merges,
        model_max_length=CONTEXT,
    )
    tokenizer.save_pretrained(folder)


def _pieces(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """A word in byte-pair pieces: of all neighbours that may merge, the earliest merge is made first."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while ranked := [(merges.index(pair), i) for i, pair in enumerate(itertools.pairwise(pieces)) if pair in merges]:
        _, i = min(ranked)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces
