"""DiffEdit on the small world against the true answers: edits of one word, 25 steps, r = 0.8, w = 5; medians.

Each held-out scene has one of its words changed (species, pose, place, style, in turn), and the renderer draws the
right answer. Success: the judge reads the new word (with its 95 % bootstrap interval). Outside: PSNR to the right
answer where it equals the input. Features: distance to the right answer in the judge's eyes. IoU: of the mask with
the latents under which a tenth of the pixels or more change. Passes: pictures through the U-Net for one edit.
Seconds: one edit at a time, median of five. `python -m tests.bench diffedit` takes 200 scenes, `run(24)` fewer.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline

import kit
from kit.diffusion import diffedit, image_to_image
from kit.diffusion.guidance import guided
from kit.world import ATTRIBUTES, load_judge, poses_of
from kit.world.caption import say

SCENES, STEPS, RATIO, GUIDANCE, SEED = 200, 25, 0.8, 5.0, 1 << 42
BATCH = 20  # pictures at a time
KINDS = ("species", "pose", "place", "style")


def edits(n):
    """n scenes, the same scenes with one word changed, which attribute that was, and the two captions of each."""
    scenes = kit.sample_scenes(n, SEED)
    random = torch.Generator().manual_seed(SEED)
    kinds = [KINDS[i % len(KINDS)] for i in range(n)]
    wanted, texts = [], []
    for i, kind in enumerate(kinds):
        has = getattr(scenes, kind)[i]
        words = poses_of(scenes.species[i]) if kind == "pose" else ATTRIBUTES[kind]
        others = [word for word in words if word != has]
        new = others[int(torch.randint(len(others), (), generator=random))]
        wanted.append(scenes[i].replace(**{kind: new}))
        texts.append([say({"species": s.species[0], kind: getattr(s, kind)[0]}) for s in (scenes[i], wanted[-1])])
    return scenes, sum(wanted[1:], wanted[0]), kinds, texts


def ways(models, empty):
    """name -> a call (x0, reference, query, true mask) -> (edited latents, the mask used or None)."""
    schedule, timesteps = models.schedule, models.timesteps(STEPS)
    guide = guided(models.predict, empty, GUIDANCE)

    def sdedit(x0, reference, query, truth):
        return image_to_image(guide, schedule, x0, query, strength=RATIO, steps=STEPS), None

    def masked(*deviations):
        def way(x0, reference, query, truth):
            made = diffedit.masked_edit(
                models.predict, schedule, x0, timesteps, reference, query, empty,
                ratio=RATIO, guidance=GUIDANCE, deviations=deviations,
            )  # fmt: skip
            return made.x, made.mask.mask

        return way

    def given(mask_of):
        def way(x0, reference, query, truth):
            encoded = diffedit.encode(models.predict, schedule, x0, timesteps, empty, ratio=RATIO)
            return diffedit.edit(guide, schedule, encoded, mask_of(truth), query), None

        return way

    return {
        "the input, not edited": lambda x0, reference, query, truth: (x0, None),
        "image-to-image": sdedit,
        "encode, decode, no mask": given(torch.ones_like),
        "DiffEdit without encoding": masked("noise in place of encoding"),
        "DiffEdit": masked(),
        "DiffEdit, true mask": given(lambda truth: truth),
        "diffusers 0.42": theirs(models, empty),
    }


def theirs(models, empty):
    """diffusers' three calls, on one picture at a time, as its batches share a scale."""
    config = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                  set_alpha_to_one=False, steps_offset=1)  # fmt: skip
    pipe = StableDiffusionDiffEditPipeline(
        models.vae, models.text_encoder, models.tokenizer, models.unet, DDIMScheduler(**config), None, None,
        DDIMInverseScheduler(**config), requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    settings = dict(num_inference_steps=STEPS, guidance_scale=GUIDANCE)
    part = dict(inpaint_strength=RATIO, negative_prompt_embeds=empty)

    def one(x, reference, query):
        mask = pipe.generate_mask(
            x, target_prompt_embeds=query, target_negative_prompt_embeds=empty, source_prompt_embeds=reference,
            source_negative_prompt_embeds=empty, generator=torch.Generator().manual_seed(0), **settings,
        )  # fmt: skip
        mask = torch.from_numpy(mask).float()[:, None]
        levels = pipe.invert(image=x, prompt_embeds=reference, **part, **settings).latents
        made = pipe(None, mask, levels, prompt_embeds=query, output_type="latent", **part, **settings).images
        return made, mask.bool()

    def way(x0, reference, query, truth):
        rows = [one(*row) for row in zip(x0.split(1), reference.split(1), query.split(1), strict=True)]
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))

    return way


def overlap(a, b):
    """Intersection over union of bool masks, (n,)."""
    return (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1).clamp(min=1)


def interval(right):
    """The share of True and its 95 % bootstrap interval, in percent."""
    draws = torch.randint(len(right), (2000, len(right)), generator=torch.Generator().manual_seed(0))
    low, high = right.float()[draws].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{100 * right.float().mean():.0f} ({100 * low:.0f}…{100 * high:.0f})"


def seconds(call):
    """Median of five, after one that is not counted."""
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


@torch.inference_mode()
def run(scenes=SCENES):
    models, judge = kit.load("world", device="cpu"), load_judge()
    before, after, kinds, texts = edits(scenes)
    (input, _), (answer, _) = kit.render(before), kit.render(after)
    x0, empty = models.encode(input), models.embed("")
    reference, query = (models.embed(list(column)) for column in zip(*texts, strict=True))
    changed = (input - answer).abs().amax(1, keepdim=True) > 0.02
    truth = F.avg_pool2d(changed.float(), models.factor) >= 0.1
    seen, words = judge.read(answer), [getattr(after, kind)[i] for i, kind in enumerate(kinds)]
    passes = []
    models.unet.register_forward_hook(lambda unet, args, out: passes.append(len(args[0])))

    rows = []
    for name, way in ways(models, empty).items():
        parts = [way(*part) for part in zip(*(x.split(BATCH) for x in (x0, reference, query, truth)), strict=True)]
        made = models.decode(torch.cat([x for x, _ in parts]))
        masks = None if parts[0][1] is None else torch.cat([mask for _, mask in parts])
        passes.clear()
        way(x0[:1], reference[:1], query[:1], truth[:1])
        used = sum(passes)
        verdict = judge.read(made)
        right = torch.tensor([getattr(verdict, kind)[i] == words[i] for i, kind in enumerate(kinds)])
        kept = (~changed).float()
        error = ((made - answer).square() * kept).sum((1, 2, 3)) / (3 * kept.sum((1, 2, 3)))
        outside = -10 * error[kept.flatten(1).any(1)].log10()
        far = (verdict.features - seen.features).norm(dim=1)
        rows.append(
            {
                "way": name,
                **{kind: interval(right[[k == kind for k in kinds]]) for kind in KINDS},
                "outside, dB": f"{outside.median():.1f}",
                "features": f"{far.median():.1f}",
                "IoU": "" if masks is None else f"{overlap(masks, truth).median():.2f}",
                "passes": used,
                "s": f"{seconds(lambda way=way: way(x0[:1], reference[:1], query[:1], truth[:1])):.2f}",
            }
        )
    return rows
