"""The whole of `make world` on a tiny recipe: every stage, killed and resumed, alone and on two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from kit.diffusion.training import Plan, Run
from kit.world import train as module
from kit.world.train import Recipe, make_world

SHORT = Plan(steps=3, lr=1e-3, every=2)
TINY = Recipe(
    vae_channels=(8, 8, 8, 8), vae_batch=2, vae=SHORT, decoder=SHORT,
    text_width=32, text_layers=1, words_batch=4, words=SHORT, judge_batch=4, judge=SHORT,
    unet_channels=(16, 16, 16), unet_batch=4, unet=Plan(steps=5, lr=1e-3, every=2), latents=16, pictures=4,
)  # fmt: skip


def weights(folder):
    return {f"{p.parent.name}.{k}": v for p in sorted(folder.rglob("*.safetensors")) for k, v in load_file(p).items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One whole tiny run."""
    folder = tmp_path_factory.mktemp("world")
    card = make_world(TINY, folder / "work", folder / "out")
    return folder / "out", card


def test_the_folder_is_one_that_the_stock_pipeline_loads(made):
    out, _ = made
    pipeline = StableDiffusionPipeline.from_pretrained(out, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a horse in the snow", num_inference_steps=2, output_type="np").images
    assert picture.shape == (1, 128, 128, 3)
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pt"))


def test_the_card_tells_recipe_losses_measures_and_checksums(made):
    out, returned = made
    card = json.loads((out / "card.json").read_text())
    assert card == json.loads(json.dumps(returned))
    assert {name: len(losses) for name, losses in card["losses"].items()} == {
        "vae": 3,
        "decoder": 3,
        "words": 3,
        "judge": 3,
        "unet": 5,
    }
    assert card["recipe"]["unet"]["steps"] == 5 and card["processes"] == 1
    assert card["measured"]["pictures"] == 4 and 0 <= card["measured"]["all"] <= 1
    assert card["files"] == module.checksums(out)
    assert "unet/diffusion_pytorch_model.safetensors" in card["files"] and "card.json" not in card["files"]


@pytest.mark.parametrize("saves", [1, 7, 10])
def test_a_killed_run_leaves_the_weights_alone_and_ends_bit_for_bit_the_same(made, tmp_path, monkeypatch, saves):
    """Killed right after the given number of checkpoints: in the autoencoder, the judge, the U-Net."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("the weights that were there")
    left, save = [saves], Run._write

    def saves_then_dies(run):
        save(run)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_write", saves_then_dies)
        with pytest.raises(KeyboardInterrupt):
            make_world(TINY, tmp_path / "work", out)
    assert (out / "precious").exists() and len(list(out.iterdir())) == 1
    torch.rand(3)
    make_world(TINY, tmp_path / "work", out)
    whole, resumed = weights(made[0]), weights(out)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not (out / "precious").exists()


def test_better_weights_are_not_overwritten_unless_told(made, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "card.json").write_text(json.dumps({"measured": {"all": 1.01}}))
    with pytest.raises(FileExistsError, match=r"holds better weights; got .* wanted at least 1.010.*--replace"):
        make_world(TINY, tmp_path / "work", out)
    assert [p.name for p in out.iterdir()] == ["card.json"]
    make_world(TINY, tmp_path / "work", out, replace_better=True)
    assert (out / "unet").exists()


def test_two_processes_make_one_world(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from tests.world.test_train import TINY\n"
        "from kit.world.train import make_world\n"
        f"make_world(TINY, Path({str(tmp_path)!r}) / 'work', Path({str(tmp_path)!r}) / 'out')\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["processes"] == 2 and card["files"] == module.checksums(tmp_path / "out")


def test_finishing_the_decoder_leaves_the_latents_alone(tmp_path):
    torch.manual_seed(0)
    vae = module.autoencoder(TINY)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    module.train_decoder(TINY, tmp_path, vae)
    moved = {name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)


def test_captions_are_left_out_one_by_one():
    """How many of a batch of 64 are empty is binomial: mean n p, and variance n p (1 - p), which texts that are left
    out together, or a fixed share of each batch, do not have."""
    random, n, batches, p = torch.Generator().manual_seed(5), 64, 4000, 0.12
    texts = [f"text {i}" for i in range(n)]
    made = [module.left_out(texts, random) for _ in range(batches)]
    assert all(new in ("", old) for batch in made for new, old in zip(batch, texts, strict=True))
    counts = torch.tensor([batch.count("") for batch in made], dtype=torch.float64)
    mean, variance = n * p, n * p * (1 - p)
    assert abs(counts.mean() - mean) < 4 * (variance / batches) ** 0.5
    # The variance of a variance of nearly normal counts is 2 variance^2 / batches.
    assert abs(counts.var() - variance) < 5 * variance * (2 / batches) ** 0.5
