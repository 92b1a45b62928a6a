import itertools

import pytest
from transformers import AutoTokenizer, CLIPTokenizer

from kit.world import ATTRIBUTES, VOCABULARY, captions, parse, poses_of, sample_scenes, unknown_words
from kit.world.caption import CONTEXT, matches, save_tokenizer, say

COMBINATIONS = [
    {name: value for name, value in zip(ATTRIBUTES, values, strict=True) if value}
    for values in itertools.product(*[(None, *words) for words in ATTRIBUTES.values()])
    if not (values[0] and values[1]) or values[1] in poses_of(values[0])
]


@pytest.mark.parametrize("phrasing", [0, 1, 2, 4, 13, 31, 77, 96, 127])
def test_parse_undoes_say_for_every_combination(phrasing):
    for attributes in COMBINATIONS:
        text = say(attributes, phrasing)
        assert parse(text) == attributes, text
        assert unknown_words(text) == []


def test_phrasings_differ_and_say_the_same():
    texts = {say({"species": "zebra", "pose": "jumping", "place": "snow"}, k) for k in range(128)}
    assert len(texts) >= 8
    assert "a zebra jumping in the snow" in texts and "in the snow, a jumping zebra" in texts


def test_captions_are_true_of_their_scenes_and_leave_things_open():
    scenes = sample_scenes(2000, 0)
    texts = captions(scenes, 1)
    said = [parse(text) for text in texts]
    assert all(getattr(scenes, name)[i] == value for i, known in enumerate(said) for name, value in known.items())
    for name, odds in (("species", 0.9), ("pose", 0.75), ("place", 0.75), ("style", 0.5)):
        share = sum(name in known for known in said) / 2000
        assert abs(share - odds) < 5 * (odds * (1 - odds) / 2000) ** 0.5, (name, share)


def test_what_is_mentioned_can_be_chosen():
    scenes = sample_scenes(50, 0)
    assert all(set(parse(text)) == {"species", "place"} for text in captions(scenes, 2, mention=("species", "place")))
    with pytest.raises(ValueError, match="got mention=\\['colour'\\]"):
        captions(scenes, 0, mention=["colour"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a purple elephant in the snow", "got 'purple', 'elephant' in"),
        ("a horse zebra", "got both 'horse' and 'zebra'"),
        ("a cow spreading its wings", "got a cow spreading its wings"),
        ("a dog at night in the snow", "got both 'night' and 'snow'"),
    ],
)
def test_a_caption_that_cannot_be_drawn_says_why(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_the_error_lists_the_known_words():
    with pytest.raises(ValueError, match="giraffe") as error:
        parse("a wombat")
    assert all(word in str(error.value) for word in VOCABULARY)


def test_an_empty_caption_means_anything():
    assert parse("") == {}
    assert matches({}, sample_scenes(5, 0)).all()


@pytest.mark.parametrize("kind", [CLIPTokenizer, AutoTokenizer])
def test_every_known_word_is_one_token_and_captions_fit(tmp_path, kind):
    save_tokenizer(tmp_path)
    tokenizer = kind.from_pretrained(tmp_path)
    assert all(len(tokenizer.tokenize(word)) == 1 for word in VOCABULARY)
    longest = max(len(tokenizer(say(a, k)).input_ids) for a in COMBINATIONS for k in (0, 7, 31, 127))
    assert longest <= CONTEXT
    padded = tokenizer("a zebra", padding="max_length").input_ids
    assert len(padded) == CONTEXT and padded[0] == 0 and set(padded[3:]) == {1}
    assert tokenizer.decode(padded, skip_special_tokens=True).strip() == "a zebra"


def test_an_unknown_word_falls_apart_into_letters(tmp_path):
    save_tokenizer(tmp_path)
    pieces = CLIPTokenizer.from_pretrained(tmp_path).tokenize("wombat")
    assert len(pieces) > 1 and "".join(pieces) == "wombat</w>"
