"""The floor of a training: the matrix products of its steps and nothing else, by each library here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anomalae import seeds
from anomalae.models.base import build, networks
from anomalae.plugins import VIEWS
from anomalae.settings import Settings

# By which PyTorch is told to hand matrix products to oneDNN; its own are MKL's or OpenBLAS's.
PRECISIONS = {"PyTorch": "highest", "oneDNN": "medium"}
# Relative error above which products are not the same: float32 has 1e-6, bfloat16 4e-3.
SAME = 1e-4


@dataclass(frozen=True)
class Product:
    """What one dense layer multiplies in one step: (rows, inputs) by (inputs, outputs), and back.

    to_inputs: whether the inputs want a gradient too; images do not.
    """

    rows: int
    inputs: int
    outputs: int
    to_inputs: bool

    @property
    def operations(self) -> int:
        """Floating point operations, forward and backward."""
        return 2 * self.rows * self.inputs * self.outputs * (3 if self.to_inputs else 2)


def products(settings: Settings, batch: int) -> list[Product]:
    """Products of one step of each network of these settings; those of convolutions are not among them."""
    found: list[Product] = []

    def seen(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        rows = given[0].numel() // given[0].shape[-1]
        found.append(Product(rows, given[0].shape[-1], output.shape[-1], given[0].requires_grad))

    for own in networks(settings):
        network = build(own)
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(seen)
        source, target = VIEWS[own.view].see(torch.zeros(batch, 1, 28, 28))
        network.loss(source, target, seeds.generator(0, seeds.EPOCH), 1.0)
    return found


@contextmanager
def multiplied_by(library: str) -> Iterator[None]:
    """PyTorch's matrix products by a library of PRECISIONS, and as before at the end."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(PRECISIONS[library])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def libraries() -> list[str]:
    """Names of the libraries whose products are float32's here."""
    left, right = torch.rand(128, 784, dtype=torch.float64), torch.rand(784, 512, dtype=torch.float64)
    exact, same = left @ right, []
    for library in PRECISIONS:
        with multiplied_by(library):
            error = (left.float() @ right.float()).double() / exact - 1
        if float(error.abs().max()) < SAME:
            same.append(library)
    return [*same, "NumPy"]


def steps(
    library: str, made: list[Product], count: int, arrays: list[list[np.ndarray]] | None = None
) -> Callable[[], None]:
    """A work of so many steps' products by a library, into memory that is there already: `room` of each product."""
    arrays = [room(product) for product in made] if arrays is None else arrays
    if library == "NumPy":
        return _numpy_steps(made, count, arrays)
    tensors = [[torch.from_numpy(array) for array in of_product] for of_product in arrays]

    def work() -> None:
        with torch.no_grad(), multiplied_by(library):
            for _ in range(count):
                for product, (x, w, y, dx, dw) in zip(made, tensors, strict=True):
                    torch.mm(x, w.t(), out=y)
                    torch.mm(y.t(), x, out=dw)
                    if product.to_inputs:
                        torch.mm(y, w, out=dx)

    return work


def _numpy_steps(made: list[Product], count: int, arrays: list[list[np.ndarray]]) -> Callable[[], None]:
    def work() -> None:
        for _ in range(count):
            for product, (x, w, y, dx, dw) in zip(made, arrays, strict=True):
                np.matmul(x, w.T, out=y)
                np.matmul(y.T, x, out=dw)
                if product.to_inputs:
                    np.matmul(y, w, out=dx)

    return work


def room(product: Product) -> list[np.ndarray]:
    """Inputs, weights, and room for outputs and both gradients."""
    rng = np.random.default_rng(0)
    x = rng.random((product.rows, product.inputs), dtype=np.float32)
    # So small that outputs, which stand for their gradients, neither grow nor vanish.
    w = rng.random((product.outputs, product.inputs), dtype=np.float32) / product.inputs
    y = np.empty((product.rows, product.outputs), np.float32)
    return [x, w, y, np.empty_like(x), np.empty_like(w)]
