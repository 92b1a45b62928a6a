"""Textual inversion's exercises: right answers written apart, and wrong ones that must be told why."""

import torch
from torch import nn

from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def put_word(table, ids, word, vector):
    return torch.stack([torch.stack([vector if id == word else table[id] for id in row.tolist()]) for row in ids])


def word_gradient(grads, ids, word):
    return torch.einsum("nl,nld->d", (ids == word).to(grads), grads)


def inversion_loss(predict, x0, eps, alpha_bar):
    total = 0
    for one, noise, level in zip(x0, eps, alpha_bar, strict=True):
        x = level**0.5 * one + (1 - level) ** 0.5 * noise
        total = total + ((noise - predict(x)) ** 2).mean()
    return total / len(x0)


def restored(before, after, word):
    table = before.clone()
    table[word] = after[word]
    return table


RIGHT = [put_word, word_gradient, inversion_loss, restored]

# Mistakes as a reader makes them, and what the message must name.


def put_once(table, ids, word, vector):
    made = []
    for row in ids.tolist():
        at = row.index(word)
        made.append(torch.stack([vector if i == at else table[0 if id == word else id] for i, id in enumerate(row)]))
    return torch.stack(made)


def put_in_the_table(table, ids, word, vector):
    table[word if word < len(table) else 0] = vector
    return put_word(table, ids, word, vector)


def one_a_prompt(grads, ids, word):
    return sum(g[row.tolist().index(word)] for g, row in zip(grads, ids, strict=True))


def loss(mix=lambda a, x0, eps: a**0.5 * x0 + (1 - a) ** 0.5 * eps, against="eps", reduce=lambda e: (e**2).mean()):
    def wrong(predict, x0, eps, alpha_bar):
        a = alpha_bar[:, None, None, None]
        return reduce(predict(mix(a, x0, eps)) - (eps if against == "eps" else x0))

    return wrong


def all_but(before, after, word):
    table = after.clone()
    table[word] = before[word]
    return table


def only_row(before, after, word):
    table = torch.zeros_like(after)
    table[word] = after[word]
    return table


def in_place(before, after, word):
    before[word] = after[word]
    return before


WRONG = [
    ("put_word", put_once, "all places of the word share it"),
    ("put_word", put_in_the_table, "in place"),
    (
        "put_word",
        lambda table, ids, word, vector: torch.stack(
            [torch.stack([table[0] + vector if id == word else table[id] for id in row]) for row in ids.tolist()]
        ),
        "takes its place",
    ),
    ("put_word", lambda table, ids, word, vector: put_word(table, ids, word, 0 * vector), "places are zeros"),
    (
        "put_word",
        lambda table, ids, word, vector: torch.stack(
            [torch.stack([table[0] if id == word else vector for id in row]) for row in ids.tolist()]
        ),
        "every place but the word's",
    ),
    ("put_word", lambda table, ids, word, vector: vector.repeat(*ids.shape, 1), "stands everywhere"),
    (
        "word_gradient",
        lambda grads, ids, word: word_gradient(grads, ids, word) / (ids == word).sum(),
        "their gradients add up",
    ),
    ("word_gradient", lambda grads, ids, word: grads.flatten(0, 1).sum(0), "belong to their own rows"),
    ("word_gradient", one_a_prompt, "one place of each prompt"),
    ("word_gradient", lambda grads, ids, word: word_gradient(grads[:1], ids[:1], word), "only the first prompt"),
    (
        "word_gradient",
        lambda grads, ids, word: grads.sum((0, 1)) - word_gradient(grads, ids, word),
        "all the other tokens",
    ),
    ("inversion_loss", loss(lambda a, x0, eps: a * x0 + (1 - a) * eps), "without its square root"),
    ("inversion_loss", loss(lambda a, x0, eps: (1 - a) ** 0.5 * x0 + a**0.5 * eps), "each other's share"),
    ("inversion_loss", loss(lambda a, x0, eps: x0), "shown the clean pictures"),
    ("inversion_loss", loss(against="x0"), "held against the pictures"),
    ("inversion_loss", loss(reduce=lambda e: (e**2).sum()), "the sum of squares"),
    ("inversion_loss", loss(reduce=lambda e: e.abs().mean()), "mean of sizes"),
    ("restored", all_but, "the other way round"),
    ("restored", lambda before, after, word: after + 0, "nothing was put back"),
    ("restored", lambda before, after, word: before + 0, "nothing is learnt"),
    ("restored", only_row, "keep their old numbers"),
    ("restored", in_place, "in place"),
]


def test_torch_adds_up_the_gradients_of_all_places_as_the_exercise_does():
    """The same sum by autograd, through an embedding that looks the word up at every place."""
    for given in EXERCISES["word_gradient"].inputs():
        vector = nn.Parameter(torch.zeros_like(given["grads"][0, 0]))
        table = torch.zeros(6, len(vector)).to(vector)
        placed = EXERCISES["put_word"].answer(table, given["ids"], given["word"], vector)
        (placed * given["grads"]).sum().backward()
        assert torch.allclose(vector.grad, EXERCISES["word_gradient"].answer(**given))
