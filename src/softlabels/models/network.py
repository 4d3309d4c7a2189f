"""What every network is: features, then one linear layer. And what those for small images are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Network(nn.Module):
    """Logits z = head(features(x)).

    `features(x) -> [N, d]` are the penultimate activations, `head` holds the class templates
    `weight [K, d]` and `bias [K]`; x is `[N, C, H, W]`.
    """

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations `[N, d]`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits


class Wrapped(Network):
    """A network written elsewhere whose last linear layer was taken out as `head`; the rest is `body`.

    `head_name` is where that layer was, so that weights saved under the original names can be loaded.
    """

    def __init__(self, body: nn.Module) -> None:
        """
        Raises:
            ValueError: the network has no linear layer.
        """
        super().__init__()
        linear = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)]
        if not linear or not linear[-1]:
            raise ValueError("no linear layer inside")
        self.head_name = linear[-1]
        head = body.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        body.set_submodule(self.head_name, nn.Identity())
        self.body, self.head = body, head

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations `[N, d]`, after the dropout that stands before the head."""
        activations: Tensor = self.body(x)
        return activations


Shape = tuple[int, int, int]


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: int | None = None,
    bias: bool = True,
    activation: Callable[..., nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation (None: none). Without `padding` the side is kept, or divided by `stride`.

    A bias before batch norm changes no function; the released code of Yuan et al. has one almost everywhere, and so it
    counts as parameters.
    """
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
    layers = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    if activation is not None:
        layers.append(activation(inplace=True))
    return layers
