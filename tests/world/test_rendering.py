import pytest
import torch
import torch.nn.functional as F

from kit.world import SPECIES, poses_of, render, sample_scenes
from kit.world.rigs import LOOKS, Coat, rig

EVERY_RIG = [(species, pose) for species in SPECIES for pose in poses_of(species)]


def every_animal(**changes):
    scenes = sample_scenes(len(EVERY_RIG), 11)
    species, pose = zip(*EVERY_RIG, strict=True)
    return scenes.replace(species=species, pose=pose, **changes)


def extent(masks, axis):
    """The side of the masks' bounding boxes along an axis, as a fraction of the picture."""
    return (masks > 0.5).any(axis).sum(-1).flatten() / masks.shape[-1]


def test_pictures_and_masks_have_the_promised_shapes_and_ranges():
    pictures, masks = render(sample_scenes(40, 0), 96)
    assert pictures.shape == (40, 3, 96, 96) and masks.shape == (40, 1, 96, 96)
    assert pictures.dtype == masks.dtype == torch.float32
    for values in (pictures, masks):
        assert values.min() >= 0 and values.max() <= 1
    assert masks.amax((1, 2, 3)).eq(1).all()


def test_the_animal_spans_45_to_75_hundredths_of_the_width_and_fits():
    _, masks = render(sample_scenes(400, 1), 256)
    width = extent(masks, 2)
    assert width.min() >= 0.45 and width.max() <= 0.76, (width.min(), width.max())
    border = torch.cat([masks[:, :, 0], masks[:, :, -1], masks[..., 0], masks[..., -1]], dim=-1)
    assert border.max() < 0.5, "an animal is cut off by the picture's edge"


def test_a_scene_looks_the_same_at_every_size():
    scenes = sample_scenes(24, 2)
    large, large_mask = render(scenes, 256)
    small, small_mask = render(scenes, 64)
    assert (F.avg_pool2d(large, 4) - small).abs().mean() < 0.012
    assert (F.avg_pool2d(large_mask, 4) - small_mask).abs().mean() < 0.01


@pytest.mark.parametrize("size", [48, 128, 512])
def test_edges_are_one_pixel_soft_at_every_size(size):
    """A soft edge of one pixel leaves about one pixel between bare and covered along the silhouette's outline."""
    _, masks = render(sample_scenes(6, 12), size)
    inside = masks > 0.5
    outline = (inside[..., 1:] != inside[..., :-1]).sum() + (inside[..., 1:, :] != inside[..., :-1, :]).sum()
    soft = ((masks > 0.02) & (masks < 0.98)).sum()
    assert 0.5 < soft / outline < 1.5, soft / outline


def test_a_picture_does_not_depend_on_its_batch():
    scenes = sample_scenes(19, 3)
    together, masks = render(scenes, 48)
    for i in (0, 7, 18):
        alone, mask = render(scenes[i], 48)
        assert torch.equal(alone[0], together[i]) and torch.equal(mask[0], masks[i])


def test_the_mask_is_where_the_animal_is():
    """Changing the coat alone (horse to zebra keeps no outline, so two zebras of other stripes) changes the picture
    inside the mask only."""
    scenes = sample_scenes(30, 4, species="cow", style="plain")
    seeds = scenes.seed
    one, mask = render(scenes, 128)
    two, other = render(scenes.replace(seed=seeds), 128)
    assert torch.equal(one, two) and torch.equal(mask, other)
    # Moving the animal away: outside both masks (and off the ground, where the shadow lies) nothing changes.
    moved, moved_mask = render(scenes.replace(x=1 - scenes.x, facing=-scenes.facing), 128)
    background = (mask + moved_mask) == 0
    background[:, :, int(0.7 * 128) :] = False
    changed = (one - moved).abs().amax(1, keepdim=True)
    assert changed[background].max() < 1e-5
    assert changed[(mask > 0.99) & (moved_mask == 0)].mean() > 0.1


def test_the_pose_moves_the_animal_but_not_the_place():
    scenes = sample_scenes(10, 6, species="dog", pose="standing", style="plain")
    one, mask = render(scenes)
    two, other = render(scenes.replace(pose="jumping"))
    sky = torch.zeros_like(mask, dtype=torch.bool)
    sky[:, :, :60] = True
    outside = sky & (mask + other == 0)
    assert ((one - two).abs().amax(1, keepdim=True))[outside].max() < 1e-5
    assert ((mask > 0.5) ^ (other > 0.5)).float().mean() > 0.03


def test_facing_mirrors_the_silhouette():
    scenes = every_animal(x=0.5, facing=1.0, style="plain")
    _, right = render(scenes, 128)
    _, left = render(scenes.replace(facing=-1.0), 128)
    assert (right - left.flip(-1)).abs().max() < 1e-3


@pytest.mark.parametrize(("species", "pose"), EVERY_RIG)
def test_a_rig_has_unit_width_stands_on_the_ground_and_names_its_height(species, pose):
    one = rig(species, pose)
    used = one.capsules[one.capsules[:, 4] > 0]
    xs = torch.cat([used[:, 0] - used[:, 4], used[:, 2] - used[:, 5], used[:, 0] + used[:, 4], used[:, 2] + used[:, 5]])
    ys = torch.cat([used[:, 1] - used[:, 4], used[:, 3] - used[:, 5], used[:, 1] + used[:, 4], used[:, 3] + used[:, 5]])
    assert abs(xs.min() + 0.5) < 1e-5 and abs(xs.max() - 0.5) < 1e-5
    assert abs(ys.min()) < 1e-5 and abs(ys.max() - one.height) < 1e-5
    assert (one.lift > 0) == (pose == "jumping")


def test_no_two_animals_look_alike():
    """Silhouettes of one size and place differ between every two rigs, coats between every two species."""
    pictures, masks = render(every_animal(x=0.5, y=0.1, size=0.6, facing=1.0, style="plain", place="meadow", seed=5))
    for i in range(len(EVERY_RIG)):
        for j in range(i):
            union = torch.maximum(masks[i], masks[j]).sum()
            assert (masks[i] - masks[j]).abs().sum() / union > 0.08, (EVERY_RIG[i], EVERY_RIG[j])
    standing = {
        s: (pictures[k] * masks[k]).sum((1, 2)) / masks[k].sum()
        for k, (s, p) in enumerate(EVERY_RIG)
        if p == "standing"
    }
    assert all((standing[a] - standing[b]).norm() > 0.04 for a in standing for b in standing if a < b), standing


@pytest.mark.parametrize("size", [0, 7, 4096])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match=f"got size={size}, wanted 8 to 2048"):
        render(sample_scenes(1, 0), size)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="got no scenes"):
        render(sample_scenes(2, 0)[:0])


VIOLET = Coat(ground=(0.8, 0.6, 0.9), pattern=(0.55, 0.12, 0.78), hair=(0.4, 0.1, 0.6))


def test_pictures_without_a_coat_are_those_the_weights_were_trained_on():
    """The moments of `render`'s pictures as it was before it knew of coats; bit for bit they are a machine's own."""
    pictures = render(sample_scenes(48, 21), 64)[0].double()
    moments = [*pictures.mean((0, 2, 3)), *pictures.square().mean((0, 2, 3))]
    assert moments == pytest.approx([0.723038, 0.724479, 0.672766, 0.582076, 0.572332, 0.509728], abs=2e-6)


def test_a_coat_changes_the_animal_alone_and_nothing_of_its_shape():
    scenes = every_animal(style="plain")
    usual, mask = render(scenes)
    dyed, same = render(scenes, coat=VIOLET)
    changed = (usual - dyed).abs().amax(1, keepdim=True)
    assert torch.equal(mask, same) and changed[mask == 0].max() == 0
    share = ((changed > 0.02) & (mask > 0.99)).sum((1, 2, 3)) / (mask > 0.99).sum((1, 2, 3))
    assert share.min() > 0.5, share


def test_a_coat_of_the_species_own_colours_is_the_species():
    k = LOOKS["zebra"]
    own = Coat(k.coat, (0.10, 0.09, 0.11), k.dark)
    scenes = sample_scenes(6, 13, species="zebra", style="plain")
    usual, dyed = render(scenes)[0], render(scenes, coat=own)[0]
    changed = (usual - dyed).abs().amax(1) > 1e-6  # the far legs and the tail, which are in the ground's shade
    assert 0 < changed.float().mean() < 0.02


def test_every_part_of_a_coat_is_worn():
    """Ground, pattern and hair change different pixels; a pattern none of a horse and a dog, which have none."""
    scenes = every_animal(style="plain", x=0.5)
    bare, _ = render(scenes, coat=VIOLET)
    parts = {}
    for part in Coat._fields:
        other, _ = render(scenes, coat=VIOLET._replace(**{part: (0.1, 0.9, 0.2)}))
        parts[part] = (other - bare).abs().amax((1, 2, 3)) > 0.2
    plain = torch.tensor([species in ("horse", "dog") for species, _ in EVERY_RIG])
    assert parts["ground"].all() and parts["hair"].all() and torch.equal(parts["pattern"], ~plain)


@pytest.mark.parametrize("colour", [(1.2, 0, 0), (0.1, 0.2), (-0.1, 0, 0)])
def test_a_colour_that_is_none_is_refused(colour):
    with pytest.raises(ValueError, match="wanted colours of three numbers from 0 to 1"):
        render(sample_scenes(1, 0), coat=VIOLET._replace(hair=colour))
