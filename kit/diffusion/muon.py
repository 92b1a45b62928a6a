"""Muon (Jordan and others, 2024): steps that are equally long in all directions of a matrix.

torch has one, for matrices only; most weights of a U-Net are convolutions, which here are matrices with a filter a row.
"""

import torch

MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """For weights of two or more dimensions; a rate and a decay mean what they mean to AdamW (2502.16982, eq. 4).

    dtype: of the products, for which half precision is enough where a device has it. Raises ValueError for a vector.
    """

    def __init__(self, parameters, lr, weight_decay=0.0, dtype=torch.bfloat16):
        self.dtype = dtype
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.ndim < 2:
                raise ValueError(f"Muon: got a parameter of shape {tuple(p.shape)}, wanted two dimensions or more")

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
                mean = self.state[p]["momentum"]
                mean.lerp_(p.grad, 1 - MOMENTUM)
                ahead = p.grad.lerp(mean, MOMENTUM).flatten(1)  # Nesterov's
                size = 0.2 * max(ahead.shape) ** 0.5  # the root mean square of AdamW's steps is about 0.2 of its rate
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(orthogonal(ahead.to(self.dtype)).view_as(p).to(p), alpha=-group["lr"] * size)


def orthogonal(matrix):
    """Nearly U V^T of a matrix U S V^T, by five steps of a Newton-Schulz iteration; in place of S, 0.5 to 1.5.

    Zero rows and columns stay so.
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonal(matrix.T).T
    x = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(5):  # x <- 3.4445 x - 4.775 x x^T x + 2.0315 (x x^T)^2 x lifts small singular values fastest
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.775 * gram) @ x
    return x
