"""Worlds whose noise prediction is known exactly, behind the seam of a network: predict(x, t, cond) -> eps.

For clean latents of density p, the best prediction is eps = -noise * grad log p_t(x), where p_t is the
density of x = signal x0 + noise eps. Signal and noise are worked out here from alpha_bar alone, so that a
wrong schedule cannot make a wrong world that agrees with it. Everything is float64.

    m, S      mean and covariance of the clean latents        w_k       weight of a mixture's component k
"""

import torch


def signal_noise(schedule, t):
    ab = float(schedule.alpha_bar[t]) if t >= 0 else schedule.final_alpha_bar
    return ab**0.5, (1 - ab) ** 0.5


class Gaussian:
    """Latents N(m, S). m: (c, h, w). S: (c, h, w), a diagonal, or (d, d), a full covariance, d = c*h*w."""

    def __init__(self, schedule, m, S):
        self.schedule, self.m = schedule, m
        full = S if S.ndim == 2 else torch.diag(S.flatten())
        self.variances, self.axes = torch.linalg.eigh(full)
        self.calls = 0

    def _in_axes(self, x, t):
        """x - signal m along S's axes, and the variance of x there."""
        signal, noise = signal_noise(self.schedule, t)
        off = (x - signal * self.m).flatten(1).to(self.axes)
        return off @ self.axes, signal**2 * self.variances + noise**2

    def predict(self, x, t, cond=None):
        self.calls += 1
        off, variance = self._in_axes(x, t)
        noise = signal_noise(self.schedule, t)[1]
        return (noise * (off / variance) @ self.axes.T).view_as(x).to(x.dtype)

    def flow(self, x, t, t_next):
        """Where the probability-flow ODE takes x from t to t_next: the exact limit of DDIM's small steps."""
        off, variance = self._in_axes(x, t)
        signal, noise = signal_noise(self.schedule, t_next)
        gain = ((signal**2 * self.variances + noise**2) / variance) ** 0.5
        return signal * self.m + (off * gain @ self.axes.T).view_as(x).to(x.dtype)


class Mixture:
    """Latents from K classes, round Gaussians N(m_k, v_k I); cond (n, K) are a picture's weights of them.

    means: (K, c, h, w). variances: (K,). prior: (K,), the weights where cond is None.
    """

    def __init__(self, schedule, means, variances, prior):
        self.schedule, self.means, self.variances, self.prior = schedule, means, variances, prior
        self.calls = []

    def only(self, k, n=1):
        """cond (n, K) of class k."""
        return torch.eye(len(self.prior), dtype=self.prior.dtype)[k].expand(n, -1)

    def draw(self, classes, seed=1):
        """One clean picture of each of the classes, (n, c, h, w)."""
        spread = self.variances[classes].sqrt().view(-1, 1, 1, 1)
        return self.means[classes] + spread * normal(len(classes), self.means.shape[1:], seed)

    def log_joint(self, x, t, weights):
        """log(w_k N(x; signal m_k, (signal^2 v_k + noise^2) I)), (n, K)."""
        signal, noise = signal_noise(self.schedule, t)
        variance = signal**2 * self.variances + noise**2
        square = (x[:, None] - signal * self.means).pow(2).flatten(2).sum(-1)
        d = self.means[0].numel()
        return weights.log() - square / (2 * variance) - d / 2 * (2 * torch.pi * variance).log()

    def log_density(self, x, t, weights):
        """log p_t(x | weights), (n,)."""
        return self.log_joint(x, t, weights).logsumexp(-1)

    def predict(self, x, t, cond=None):
        self.calls.append(len(x))
        weights = self.prior.expand(len(x), -1) if cond is None else cond
        signal, noise = signal_noise(self.schedule, t)
        share = self.log_joint(x, t, weights).softmax(-1) / (signal**2 * self.variances + noise**2)
        off = x[:, None] - signal * self.means
        return noise * (share[..., None, None, None] * off).sum(1)


def correlated(schedule, shape=(2, 4, 4), seed=0):
    """A Gaussian world with a full, well-conditioned covariance, its variances from 0.3 to 2."""
    g = torch.Generator().manual_seed(seed)
    d = torch.Size(shape).numel()
    axes = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q
    S = axes @ torch.diag(torch.linspace(0.3, 2, d, dtype=torch.float64)) @ axes.T
    return Gaussian(schedule, torch.randn(shape, generator=g, dtype=torch.float64), S)


def smooth(schedule, side=4, reach=2.0):
    """A Gaussian world of pictures (1, side, side) whose neighbouring pixels are alike, as far as `reach`."""
    at = torch.cartesian_prod(*[torch.arange(side, dtype=torch.float64)] * 2)
    S = torch.exp(-(torch.cdist(at, at) ** 2) / (2 * reach**2)) + 0.02 * torch.eye(side**2, dtype=torch.float64)
    return Gaussian(schedule, torch.linspace(-1, 1, side**2, dtype=torch.float64).view(1, side, side), S)


def three_classes(schedule, shape=(2, 4, 4), seed=0):
    """A mixture of three classes of different spread, far apart when clean and one when noisy."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(3, *shape, generator=g, dtype=torch.float64)
    variances = torch.tensor([0.5, 0.8, 1.2], dtype=torch.float64)
    return Mixture(schedule, means, variances, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))


def two_neighbours(schedule):
    """A mixture of two equally likely and equally wide classes, so close that they overlap when clean."""
    m = torch.tensor([0.48, 0.1], dtype=torch.float64).view(1, 2, 1, 1)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    return Mixture(schedule, torch.cat([m, -m]), half, half)


def normal(n, shape=(2, 4, 4), seed=1):
    """float64 noise (n, *shape), drawn apart from the kit's own."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
