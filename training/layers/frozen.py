"""A frozen linear layer as two products: of the forward pass, and of the gradient on its way back.

Shape legend: N rows, I in_features, O out_features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from base.dense import dense_weight
from training.layers.products import Product


class Frozen:
    """A linear layer of the base, whatever it is stored as, outside autograd.

    A quantised weight is dequantised for each product and dropped after it, never kept from forward to backward.
    """

    def __init__(self, linear: Any, product: Product) -> None:
        self._linear = linear
        self._product = product
        self.out_features = int(linear.out_features)
        # Both int8 layers have products of their own; everything else is a matrix once it is dequantised.
        self._is_matrix = isinstance(linear, nn.Linear) and getattr(linear.weight, "dtype", None) != torch.int8

    def __call__(self, x_NI: Tensor) -> Tensor:
        """[N, O] in the dtype of `x_NI`."""
        if not self._is_matrix:
            out_NO: Tensor = self._linear(x_NI)
            return out_NO
        bias_O = None if self._linear.bias is None else self._linear.bias.to(x_NI.dtype)
        return self._product(x_NI, dense_weight(self._linear, x_NI.dtype), bias_O)

    def input_gradient(self, grad_NO: Tensor, added_NI: Tensor | None = None) -> Tensor:
        """[N, I]: `grad @ W + added`."""
        return self._product(grad_NO, dense_weight(self._linear, grad_NO.dtype).t(), None, added_NI)
