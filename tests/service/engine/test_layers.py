import torch
from torch import nn

from service.engine.layers import LayerWeights, MixedLinear, Routing, Segment


def test_rows_keep_their_adapter_where_a_model_flattens_rows_and_tokens() -> None:
    torch.manual_seed(0)
    weights = {"fc": LayerWeights(a_RI=torch.randn(2, 6), scaled_b_OR=torch.randn(5, 2), ratio_O=None)}
    routing = Routing(segments=(Segment(1, 3, weights),), num_rows=4)
    layer = MixedLinear("fc", nn.Linear(6, 5), routing)
    x = torch.randn(4, 7, 6)
    with torch.inference_mode():
        assert torch.equal(layer(x.flatten(0, 1)).view(4, 7, 5), layer(x))
        assert torch.equal(layer(x)[[0, 3]], layer.base(x)[[0, 3]])
        assert not torch.allclose(layer(x)[1], layer.base(x)[1])
