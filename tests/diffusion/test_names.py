"""The package's public names: all there, and free of torch until one is used."""

import subprocess
import sys

import pytest

import kit.diffusion


def test_every_public_name_is_there():
    for name in kit.diffusion.__all__:
        assert getattr(kit.diffusion, name).__name__ == name
        assert name in dir(kit.diffusion)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'ddpm_step'; it has Schedule, State, combine, guided"):
        kit.diffusion.ddpm_step  # noqa: B018


def test_importing_the_package_loads_no_torch():
    code = "import sys, kit.diffusion; assert 'torch' not in sys.modules; kit.diffusion.step"
    subprocess.run([sys.executable, "-c", code], check=True)
