"""The noise schedule: how much signal and how much noise a picture holds at each timestep.

    here         DDPM (2006.11239)       DDIM (2010.02502)        meaning
    t            t - 1                   t - 1                    0 least noisy, T-1 noisiest
    betas        beta_t                  1 - alpha_t/alpha_{t-1}  variance of the noise one step adds
    alpha_bar    alpha-bar_t             alpha_t                  share of the signal in the variance of x
    signal       sqrt(alpha-bar_t)       sqrt(alpha_t)            factor of x0 in x
    noise        sqrt(1 - alpha-bar_t)   sqrt(1 - alpha_t)        factor of eps in x
    sigma                                                         noise / signal; DiffEdit's tau
    x, x0, eps   x_t, x_0, epsilon       x_t, x_0, epsilon        x = signal x0 + noise eps
    v                                                             velocity: v = signal eps - noise x0

A timestep below 0 names the clean end of a path, whose alpha_bar is `final_alpha_bar`: 1, or that of timestep
0 as Stable Diffusion has it.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from kit.diffusion import checks


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """alpha_bar at every timestep.

    alpha_bar: (T,) numbers falling from near 1 at t = 0 to near 0 at t = T-1; kept as float64 on the CPU, so
        that looking up a level never waits for a GPU.
    final_alpha_bar: the level below t = 0, from alpha_bar[0] (the default) to 1.

    Wherever a timestep `t` is taken it is an int, or an (n,) integer tensor with one timestep for each
    picture. Such a tensor is looked up on the CPU: keep it there. Results have the first tensor's dtype and
    device; half precision is lifted to float32 for the arithmetic.
    """

    alpha_bar: torch.Tensor
    final_alpha_bar: float | None = None

    def __post_init__(self):
        alpha_bar = _falling_levels(self.alpha_bar)
        highest = float(alpha_bar[0])
        final = highest if self.final_alpha_bar is None else self.final_alpha_bar
        object.__setattr__(self, "alpha_bar", alpha_bar)
        object.__setattr__(self, "final_alpha_bar", checks.real("final_alpha_bar", final, highest, 1.0))

    @classmethod
    def from_betas(cls, betas, final_alpha_bar=None):
        """The schedule whose step t adds noise of variance betas[t], each in (0, 1). DDPM, Eq. 4."""
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas: got {_brief(betas)}, wanted a row of numbers strictly between 0 and 1")
        return cls((1 - betas).cumprod(0), final_alpha_bar)

    @classmethod
    def stable_diffusion(cls, final_alpha_bar=None):
        """Stable Diffusion's 1000 steps: sqrt(beta) evenly spaced from sqrt(0.00085) to sqrt(0.012)."""
        return cls.from_betas(_evenly(0.00085**0.5, 0.012**0.5) ** 2, final_alpha_bar)

    @classmethod
    def linear(cls, final_alpha_bar=None):
        """DDPM's 1000 steps: beta evenly spaced from 0.0001 to 0.02 (2006.11239, section 4)."""
        return cls.from_betas(_evenly(0.0001, 0.02), final_alpha_bar)

    @classmethod
    def cosine(cls, final_alpha_bar=None):
        """1000 steps along a squared cosine, beta capped at 0.999 (2102.09672, Eq. 17)."""
        wave = torch.cos((torch.linspace(0, 1, 1001, dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2) ** 2
        return cls.from_betas((1 - wave[1:] / wave[:-1]).clamp(max=0.999), final_alpha_bar)

    def zero_terminal_snr(self):
        """The schedule with all of the signal gone at T-1: signal shifted and scaled, its first value kept.

        2305.08891, Algorithm 1, its last alpha_bar being 0 but for what `above_zero` adds.
        """
        signal = self.alpha_bar**0.5
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
        return type(self)(above_zero(signal**2), self.final_alpha_bar)

    def __len__(self):
        """T, the number of timesteps the model was trained on."""
        return len(self.alpha_bar)

    def __repr__(self):
        first, last = float(self.alpha_bar[0]), float(self.alpha_bar[-1])
        return f"Schedule(T={len(self)}, alpha_bar={first:.5g}…{last:.5g}, final={self.final_alpha_bar:.5g})"

    # Levels: a float for an int t, float64 (n,) on the CPU for an (n,) tensor

    def at(self, t):
        """alpha_bar at timestep t < T; every t < 0 means `final_alpha_bar`."""
        if isinstance(t, torch.Tensor) and t.ndim:
            return self._levels[_timesteps_of(t, len(self)).clamp(min=-1) + 1]
        return float(self._levels[max(checks.whole("t", t, _ANY_BELOW, len(self) - 1), -1) + 1])

    def signal(self, t):
        """The factor of x0 at timestep t, sqrt(alpha_bar)."""
        return self.at(t) ** 0.5

    def noise(self, t):
        """The factor of eps at timestep t, sqrt(1 - alpha_bar)."""
        return (1 - self.at(t)) ** 0.5

    def sigma(self, t):
        """Noise over signal at timestep t: EDM's sigma, DiffEdit's tau; x / signal = x0 + sigma eps."""
        return self.noise(t) / self.signal(t)

    def log_snr(self, t):
        """log(alpha_bar / (1 - alpha_bar)) at timestep t; infinite where there is no noise."""
        log_snr = torch.logit(torch.as_tensor(self.at(t), dtype=torch.float64))
        return log_snr if log_snr.ndim else float(log_snr)

    # Conversions among x, x0, eps and v at timestep t; tensors (n, ...)

    def add_noise(self, x0, eps, t):
        """x at timestep t of the clean x0 under the noise eps. DDPM, Eq. 4."""
        signal, noise, x0_, eps_ = self._aligned(t, x0=x0, eps=eps)
        return (signal * x0_ + noise * eps_).to(x0.dtype)

    def x0_from_eps(self, x, eps, t):
        """The clean x0 that x and the predicted eps imply. DDIM, Eq. 9."""
        signal, noise, x_, eps_ = self._aligned(t, x=x, eps=eps)
        return ((x_ - noise * eps_) / signal).to(x.dtype)

    def eps_from_x0(self, x, x0, t):
        """The noise that x and the predicted x0 imply; not finite at a level without noise."""
        signal, noise, x_, x0_ = self._aligned(t, x=x, x0=x0)
        return ((x_ - signal * x0_) / noise).to(x.dtype)

    def v_from_x0_eps(self, x0, eps, t):
        """The velocity v = signal eps - noise x0 (2202.00512, section 4)."""
        signal, noise, x0_, eps_ = self._aligned(t, x0=x0, eps=eps)
        return (signal * eps_ - noise * x0_).to(x0.dtype)

    def v_from_eps(self, x, eps, t):
        """The velocity that x and the predicted eps imply."""
        signal, noise, x_, eps_ = self._aligned(t, x=x, eps=eps)
        return ((eps_ - noise * x_) / signal).to(x.dtype)

    def eps_from_v(self, x, v, t):
        """The noise that x and the predicted velocity imply."""
        signal, noise, x_, v_ = self._aligned(t, x=x, v=v)
        return (signal * v_ + noise * x_).to(x.dtype)

    def x0_from_v(self, x, v, t):
        """The clean x0 that x and the predicted velocity imply."""
        signal, noise, x_, v_ = self._aligned(t, x=x, v=v)
        return (signal * x_ - noise * v_).to(x.dtype)

    # Spacing

    def timesteps(self, steps, spacing="leading", offset=1):
        """The timesteps of a path of 1 <= steps <= T, int64 (steps,), noisiest first.

        spacing: where the steps lie, named as in table 2 of 2305.08891 and computed as by diffusers'
            DDIMScheduler: "leading" starts short of the noisiest level and is Stable Diffusion's, "trailing"
            starts at T-1 and stops short of 0, "linspace" holds both ends (with one step: only 0).
        offset: added to "leading" timesteps only; Stable Diffusion's is 1.
        """
        T = len(self)
        steps = checks.whole("steps", steps, 1, T)
        offset = checks.whole("offset", offset, 0, T - 1)
        if spacing not in _SPACINGS:
            raise ValueError(f"spacing: got {spacing!r}, wanted one of {', '.join(map(repr, _SPACINGS))}")
        if spacing == "leading" and (steps - 1) * (T // steps) + offset >= T:
            raise ValueError(f"offset: got {offset} with {steps} leading steps, wanted none past t = {T - 1}")
        rising = torch.arange(steps, dtype=torch.float64)
        return _SPACINGS[spacing](rising, T, steps, offset).round().long()

    @cached_property
    def _levels(self):
        """alpha_bar from t = -1 up, (T + 1,)."""
        return torch.cat([self.alpha_bar.new_tensor([self.final_alpha_bar]), self.alpha_bar])

    def _aligned(self, t, **pair):
        """signal, noise and the two tensors of `pair`, ready to be multiplied."""
        (name, x), (other_name, other) = pair.items()
        checks.like(other_name, other, name, checks.floating(name, x))
        x, other = lifted(x), lifted(other)
        return shaped(self.signal(t), x), shaped(self.noise(t), x), x, other


def above_zero(alpha_bar):
    """alpha_bar (T,) with a last level of 0, where no eps would tell x0, raised to 2^-24, or to half the level before.

    A signal of 2^-12 is far below what shows, and far above rounding.
    """
    least = min(2**-24, float(alpha_bar[-2:][0]) / 2)
    return torch.cat([alpha_bar[:-1], alpha_bar[-1:].clamp(min=least)])


def lifted(x):
    """x ready for arithmetic: half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def shaped(level, x):
    """A level, a number or (n,), so that it multiplies x (n, ...)."""
    if not isinstance(level, torch.Tensor) or not level.ndim:
        return float(level)
    if not x.ndim or len(level) != len(x):
        raise ValueError(f"t: got {len(level)} timesteps for {tuple(x.shape)}, wanted one for each picture")
    return level.to(x.device, x.dtype).view(-1, *[1] * (x.ndim - 1))


_ANY_BELOW = -(2**63)


# Evenly spaced timesteps from the step indices 0, 1, … The arithmetic is that of NumPy's arange and linspace,
# which diffusers calls, because what floating point leaves of a half decides which way it is rounded.
def _leading(i, T, steps, offset):
    return (i * (T // steps) + offset).flip(0)


def _trailing(i, T, steps, _):
    return (T + i * ((T - T / steps) - T)).round() - 1


def _linspace(i, T, steps, _):
    return (i * ((T - 1) / max(steps - 1, 1))).flip(0)


_SPACINGS = {"leading": _leading, "trailing": _trailing, "linspace": _linspace}


def _evenly(first, last, steps=1000):
    return torch.linspace(first, last, steps, dtype=torch.float64)


def _brief(values):
    """A tensor for an error message."""
    if values.numel() < 2:
        return f"{values.tolist()}"
    low, high = float(values.min()), float(values.max())
    return f"shape {tuple(values.shape)} from {low:.6g} to {high:.6g}"


def _falling_levels(alpha_bar):
    alpha_bar = torch.as_tensor(alpha_bar).detach().to("cpu", torch.float64, copy=True)
    row = alpha_bar.ndim == 1 and len(alpha_bar) > 0
    inside = row and bool(((alpha_bar > 0) & (alpha_bar < 1)).all())
    if not (inside and bool((alpha_bar.diff() < 0).all())):
        raise ValueError(
            f"alpha_bar: got {_brief(alpha_bar)}, wanted (T,) falling, strictly between 0 and 1 "
            "(at 0 a picture is all noise, and no eps tells its x0)"
        )
    return alpha_bar


def _timesteps_of(t, T):
    """An (n,) tensor of timesteps below T, on the CPU."""
    if t.ndim != 1 or t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise TypeError(f"t: got {t.dtype} of shape {tuple(t.shape)}, wanted an int or (n,) integers")
    t = t.cpu().long()
    if len(t) and int(t.max()) >= T:
        raise ValueError(f"t: got {int(t.max())}, wanted timesteps up to {T - 1}")
    return t
