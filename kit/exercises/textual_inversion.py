"""The exercises of walkthroughs/textual-inversion-2208.01618.ipynb: right answers, and the mistakes one makes.

table       a tensor (words, d)            the embedding of every token
ids         a tensor (n, L) of integers    the tokens of n prompts; `word` is the new token's
vector      a tensor (d,)                  v, the embedding of the new word S*
grads       a tensor (n, L, d)             the loss's gradient at every place of every prompt
alpha_bar   a tensor (n,)                  the share of signal in each noisy picture
"""

from __future__ import annotations

import torch

from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, levels, normal, per_picture, shapes

WORD = 7


def _ids(n: int, length: int, seed: int) -> torch.Tensor:
    """Prompts of 0 to 5, with the new word once in each, and twice in every other one that has the room."""
    luck = torch.Generator().manual_seed(seed)
    ids = torch.randint(6, (n, length), generator=luck)
    for i, row in enumerate(ids):
        row[torch.randperm(length, generator=luck)[: 1 + (i + seed) % 2]] = WORD
    return ids


# put_word


def _prompts() -> list[dict]:
    return [
        {
            "table": normal((6 if i % 2 else WORD + 1, d + 1), i, dtype(i)),
            "ids": _ids(n, length, i),
            "word": WORD,
            "vector": normal((d + 1,), 50 + i, dtype(i)),
        }
        for i, (n, length, d, _) in enumerate([(1, 2, 1, 0), (3, 3, 2, 0), *shapes(9)[2:]])
    ]


def _looked_up(table, ids, word):
    return table[ids.masked_fill(ids == word, 0)]


def _first_only(table, ids, word, vector):
    made = _looked_up(table, ids, word)
    for i, row in enumerate(ids):
        made[i, (row == word).nonzero()[0]] = vector
    return made


put_word = Exercise(
    name="put_word",
    asks=(
        "put_word(table, ids, word, vector), which returns the embeddings (n, L, d) of the tokens ids (n, L): the "
        "table's row of each, and vector wherever the token is word, for which the table may have no row."
    ),
    answer=lambda table, ids, word, vector: torch.where((ids == word)[..., None], vector, _looked_up(table, ids, word)),
    inputs=_prompts,
    mistakes={
        "only the first place of each prompt got the vector: all places of the word share it.": _first_only,
        "the vector was added to a row of the table: it takes its place.": (
            lambda table, ids, word, vector: _looked_up(table, ids, word) + (ids == word)[..., None] * vector
        ),
        "the word's places are zeros: it is the vector that belongs there.": (
            lambda table, ids, word, vector: _looked_up(table, ids, word) * (ids != word)[..., None]
        ),
        "the vector stands at every place but the word's.": (
            lambda table, ids, word, vector: torch.where((ids != word)[..., None], vector, _looked_up(table, ids, word))
        ),
        "the vector stands everywhere.": lambda table, ids, word, vector: vector.expand(*ids.shape, -1).clone(),
    },
)


# word_gradient


def _gradients() -> list[dict]:
    return [
        {"grads": normal((n, length, d), i, dtype(i)), "ids": _ids(n, length, i + 1), "word": WORD}
        for i, (n, length, d) in enumerate([(1, 2, 2), (3, 3, 3), (2, 5, 4), (4, 3, 1), (5, 6, 2), (3, 4, 5)])
    ]


word_gradient = Exercise(
    name="word_gradient",
    asks=(
        "word_gradient(grads, ids, word), which returns the gradient (d,) of the one vector that stands at every place "
        "of word in the prompts ids (n, L), given the gradients (n, L, d) of the places."
    ),
    answer=lambda grads, ids, word: grads[ids == word].sum(0),
    inputs=_gradients,
    mistakes={
        "this is the mean over the word's places: by the chain rule their gradients add up.": (
            lambda grads, ids, word: grads[ids == word].mean(0)
        ),
        "this is the sum over all places: the other tokens' gradients belong to their own rows.": (
            lambda grads, ids, word: grads.sum((0, 1))
        ),
        "only one place of each prompt was counted.": lambda grads, ids, word: torch.stack(
            [g[(row == word).nonzero()[0, 0]] for g, row in zip(grads, ids, strict=True)]
        ).sum(0),
        "only the first prompt was counted.": lambda grads, ids, word: grads[0][ids[0] == word].sum(0),
        "these are the gradients of all the other tokens.": lambda grads, ids, word: grads[ids != word].sum(0),
    },
)


# inversion_loss


def _guess(x):
    """A made-up network: the noise it finds in x."""
    return torch.tanh(0.7 * x) + 0.1


_guess.__name__ = "a made-up predict(x)"


def _noised() -> list[dict]:
    return [
        {
            "predict": _guess,
            "x0": normal(shape, 2 * i, dtype(i)),
            "eps": normal(shape, 2 * i + 1, dtype(i)),
            "alpha_bar": levels(shape[0], i, dtype(i)),
        }
        for i, shape in enumerate(shapes(8))
    ]


def _noisy(x0, eps, alpha_bar):
    level = per_picture(alpha_bar, x0)
    return level.sqrt() * x0 + (1 - level).sqrt() * eps


inversion_loss = Exercise(
    name="inversion_loss",
    asks=(
        "inversion_loss(predict, x0, eps, alpha_bar), which returns one number: the mean square of eps minus what "
        "predict(x) says of the noisy pictures x, made of x0 and eps (n, c, h, w) at the levels alpha_bar (n,)."
    ),
    answer=lambda predict, x0, eps, alpha_bar: (eps - predict(_noisy(x0, eps, alpha_bar))).square().mean(),
    inputs=_noised,
    mistakes={
        "alpha_bar was used without its square root: it is a share of the variance.": (
            lambda predict, x0, eps, alpha_bar: (
                (eps - predict(per_picture(alpha_bar, x0) * x0 + (1 - per_picture(alpha_bar, x0)) * eps))
                .square()
                .mean()
            )
        ),
        "signal and noise were given each other's share.": (
            lambda predict, x0, eps, alpha_bar: (eps - predict(_noisy(x0, eps, 1 - alpha_bar))).square().mean()
        ),
        "the network was shown the clean pictures: it is asked about noisy ones.": (
            lambda predict, x0, eps, alpha_bar: (eps - predict(x0)).square().mean()
        ),
        "what the network says was held against the pictures: it says the noise.": (
            lambda predict, x0, eps, alpha_bar: (x0 - predict(_noisy(x0, eps, alpha_bar))).square().mean()
        ),
        "this is the sum of squares; wanted the mean.": (
            lambda predict, x0, eps, alpha_bar: (eps - predict(_noisy(x0, eps, alpha_bar))).square().sum()
        ),
        "this is the mean of sizes; wanted that of squares.": (
            lambda predict, x0, eps, alpha_bar: (eps - predict(_noisy(x0, eps, alpha_bar))).abs().mean()
        ),
    },
)


# restored


def _tables() -> list[dict]:
    sizes = [(2, 2), (3, 3), (4, 2), (6, 5), (5, 1), (8, 4)]
    return [
        {
            "before": normal((n, d), 2 * i, dtype(i)),
            "after": normal((n, d), 2 * i + 1, dtype(i)),
            "word": (n - 1) * (i % 2),
        }
        for i, (n, d) in enumerate(sizes)
    ]


def _row(table, word):
    return (torch.arange(len(table)) == word)[:, None]


restored = Exercise(
    name="restored",
    asks=(
        "restored(before, after, word), which returns the table (words, d) after an optimiser's step on the whole of "
        "it, every row put back to what it was before, except that of word."
    ),
    answer=lambda before, after, word: torch.where(_row(before, word), after, before),
    inputs=_tables,
    mistakes={
        "the word's row was put back, and all others kept their step: it is the other way round.": (
            lambda before, after, word: torch.where(_row(before, word), before, after)
        ),
        "nothing was put back.": lambda before, after, word: after.clone(),
        "everything was put back: nothing is learnt.": lambda before, after, word: before.clone(),
        "the step was set to zero and the rows with it: they must keep their old numbers.": (
            lambda before, after, word: torch.where(_row(before, word), after, torch.zeros_like(before))
        ),
    },
)


EXERCISES = (put_word, word_gradient, inversion_loss, restored)
