import pytest
import torch

from kit.world import ATTRIBUTES, Scenes, poses_of, sample_scenes
from kit.world.scene import RANGES


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others():
    assert sample_scenes(20, 3) == sample_scenes(20, 3)
    assert sample_scenes(20, 3) != sample_scenes(20, 4)


def test_every_word_occurs_about_as_often_as_its_share():
    scenes = sample_scenes(6000, 0)
    for name in ("species", "place", "style"):
        words = ATTRIBUTES[name]
        for word in words:
            share = getattr(scenes, name).count(word) / 6000
            assert abs(share - 1 / len(words)) < 5 * (1 / len(words) / 6000) ** 0.5, (word, share)


def test_every_number_lies_in_its_range():
    scenes = sample_scenes(2000, 1)
    for name, (low, high) in RANGES.items():
        values = getattr(scenes, name)
        assert low <= values.min() < values.max() <= high
        assert values.max() - values.min() > 0.95 * (high - low)
    assert set(scenes.facing.tolist()) == {-1.0, 1.0}


def test_a_counterfactual_changes_what_it_says_and_nothing_else():
    scenes = sample_scenes(12, 0, species="horse")
    zebras = scenes.replace(species="zebra")
    assert zebras.species == ("zebra",) * 12
    assert zebras.replace(species="horse") == scenes


def test_a_bird_that_becomes_a_dog_cannot_keep_its_wings_spread():
    bird = sample_scenes(3, 0, species="bird", pose="spreading its wings")
    assert bird.replace(species="dog").pose == ("standing",) * 3


def test_only_birds_spread_their_wings():
    scenes = sample_scenes(3000, 5)
    spreading = {s for s, p in zip(scenes.species, scenes.pose, strict=True) if p == "spreading its wings"}
    assert spreading == {"bird"}
    assert len(poses_of("dog")) == 3


def test_indexing_and_adding_are_those_of_a_list():
    scenes = sample_scenes(7, 2)
    assert scenes[:3] + scenes[3:] == scenes
    assert scenes[2] == scenes[[2]] == scenes[torch.arange(7) == 2]
    assert scenes[-1] == scenes[6]
    assert len(scenes[[0, 0, 5]]) == 3
    with pytest.raises(IndexError):
        scenes[7]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: sample_scenes(0, 0), "got n=0, wanted at least 1"),
        (lambda: sample_scenes(2, -1), "got seed=-1"),
        (lambda: sample_scenes(2, 0, species="unicorn"), "species: got 'unicorn', wanted one of horse, zebra"),
        (lambda: sample_scenes(2, 0, species="cow", pose="spreading its wings"), "got a cow spreading its wings"),
        (lambda: sample_scenes(2, 0).replace(colour="red"), "got colour, wanted fields of a scene"),
        (lambda: sample_scenes(2, 0).replace(species=("horse",)), "different lengths"),
    ],
)
def test_a_wrong_scene_is_refused_by_name(broken, message):
    with pytest.raises(ValueError, match=message):
        broken()


def test_scenes_are_not_equal_to_other_things():
    assert sample_scenes(1, 0) != "a horse"
    assert isinstance(sample_scenes(1, 0), Scenes)
