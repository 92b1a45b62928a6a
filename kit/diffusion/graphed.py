"""A function of tensors as one graph, without Python between its operations: for what has to answer a hand in motion.

At one picture a small U-Net is hundreds of operations that each take no longer than Python takes to call the next.
"""

import contextlib
import warnings

import torch


class Graphed:
    """`function`, a module or any function of tensors, called by the graph of its operations.

    The first call with tensors of some shape, dtype and device records one. So `function` may decide nothing by its
    tensors' values, and gradients are not followed. A module's weights are shared; others that a function uses have to
    be frozen.

    threads: of a CPU, for a call; None leaves them as they are. Where a browser works on the same two cores, a second
    thread has nothing to gain.
    """

    def __init__(self, function, threads=None):
        self.function, self.threads, self._graphs = function, threads, {}

    @torch.no_grad()
    def __call__(self, *tensors):
        tensors = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in tensors]  # sooner
        key = tuple((x.shape, x.dtype, x.device) for x in tensors)
        with _threads(self.threads):
            if key not in self._graphs:
                self._graphs[key] = _graph(self.function, tuple(tensors))
            return self._graphs[key](*tensors)


def _graph(function, tensors):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes become constants, which is meant
        return torch.jit.trace(function, tensors, check_trace=False)


@contextlib.contextmanager
def _threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
