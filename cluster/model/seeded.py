"""Weights without training: a random network that costs what a trained one costs.

Drawn weights alone find nothing in one picture and a hundred objects in the next. Here every filter
sums to zero and every layer is scaled to the size that its outputs have on a scene, so contrast,
not brightness, carries on through fifty layers; the heads saturate, so a picture of high contrast
finds no hundreds; and the background's bias is set so that the median scene shows ``OBJECTS``
objects.

One seed gives the same weights on every machine: draws are whole numbers, sizes are taken in
float64 and rounded far above its last bits.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cluster.model.network import Bottleneck, Yolact
from cluster.model.scenes import scene
from job.images.preprocess import to_tensor
from job.model import Architecture
from job.yolact.detect import Floats, detect
from job.yolact.priors import make_priors

OBJECTS = 10  # with a score above SCORE
SCORE = 0.15
SCENES = range(30_000, 30_007)  # seeds, apart from those of training and tests

STEPS = 1000  # a drawn weight is one of 2 * STEPS + 1 values
DECIMALS = 3
# Of what a block adds to its shortcut; at 1 fifty layers would turn float32's last bits into
# differences of scores that one sees.
BLOCK_SIZE = 0.2
# P3 has 74 % of the priors, all of them small: weaker features keep it from giving every object.
P3_SIZE = 0.3
FEATURE_SIZE = 1.2  # of P3's head features, which saturate at 1
PROTO_SIZE = 4.0  # prototypes, which saturate too: masks with edges, and little near nothing
MASK_BIAS = 0.2  # of the coefficients: a mask fills some two thirds of its box
LOGIT_SIZE = 1.5  # of the class scores before the softmax: some hundred priors pass 0.05


def seeded_state(
    architecture: Architecture, seed: int, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, Tensor]:
    """The state_dict (float32, published names) of SEED's network; ``mean``, ``std``: B, G, R."""
    network = Yolact(architecture)
    _draw(network, torch.Generator().manual_seed(seed))
    pictures = [
        torch.from_numpy(to_tensor(scene(s).image, architecture.input_size, mean=mean, std=std))
        for s in SCENES
    ]
    network.eval()
    with torch.no_grad():
        _scale(network.double(), pictures[0].double())
        network.float()
        _set_background(network, pictures)
    state: dict[str, Tensor] = network.state_dict()
    return state


def _draw(network: nn.Module, generator: torch.Generator) -> None:
    """Uniform weights (He et al., ICCV 2015) with every filter's sum zero, and no bias."""
    for module in network.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        shape = list(module.weight.shape)
        fan_in = math.prod(shape[1:])
        if any(module is layer for layer in network.proto_net):
            shape[2:] = [1, 1]  # one weight for all nine places: smooth masks
        drawn = torch.randint(-STEPS, STEPS + 1, shape, generator=generator).double()
        drawn -= drawn.mean((1, 2, 3), keepdim=True)  # exact: sums of whole numbers
        module.weight.data = (
            (drawn * (math.sqrt(6 / fan_in) / STEPS)).float().expand(module.weight.shape).clone()
        )
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    head, proto = network.prediction_layers[0], network.proto_net[-1]
    half = _pair(head.upfeature[0], start=0.0)
    for layer in (head.bbox_layer, head.conf_layer, head.mask_layer):
        layer.weight.data[:, half:] = -layer.weight.data[:, :half]
    half = _pair(proto, start=-0.5)
    head.mask_layer.bias.data[:] = MASK_BIAS
    for values in (head.mask_layer.weight.data, head.mask_layer.bias.data):
        coefficients = values.unflatten(0, (-1, 2 * half))
        coefficients[:, half:] = -coefficients[:, :half]


def _pair(layer: nn.Conv2d, start: float) -> int:
    """Make the second half of LAYER's filters repeat the first, each one step higher.

    After ReLU, and weighed oppositely, two of them are a ramp from ``start`` to ``start`` + 1 with
    level ends. Gives half the number of filters.
    """
    half = len(layer.weight) // 2
    layer.weight.data[half:] = layer.weight.data[:half]
    layer.bias.data[:half] = -start
    layer.bias.data[half:] = -start - 1
    return half


def _scale(network: nn.Module, picture: Tensor) -> None:
    """Scale each layer so that its outputs (before the bias) on PICTURE have root mean square 1.

    A BatchNorm stores it as its variance. Exceptions are the sizes named at the top of this file.
    The head, which all levels share, is scaled at P3.
    """
    head = network.prediction_layers[0]
    sizes = {
        network.fpn.pred_layers[2]: P3_SIZE,
        head.upfeature[0]: FEATURE_SIZE,
        head.conf_layer: LOGIT_SIZE,
        network.proto_net[-1]: PROTO_SIZE,
    }
    sizes |= {m.bn3: BLOCK_SIZE for m in network.modules() if isinstance(m, Bottleneck)}
    scaled: set[nn.Module] = set()

    def scale(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        if module in scaled:
            return None
        scaled.add(module)
        bias = module.bias[:, None, None]
        output = output - bias
        factor = sizes.get(module, 1.0) / round(float(output.square().mean().sqrt()), DECIMALS)
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(factor**-2)
        else:
            module.weight.data *= factor
        return output * factor + bias

    hooks = [
        module.register_forward_hook(scale)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None
    ]
    network(picture)
    for hook in hooks:
        hook.remove()


def _set_background(network: Yolact, pictures: list[Tensor]) -> None:
    """Set the background's bias so that the median picture has ``OBJECTS`` objects."""
    priors = make_priors(network.architecture)
    outputs: list[tuple[Floats, Floats, Floats]] = []
    for picture in pictures:
        raw = network.training_outputs(picture)
        outputs.append((raw.loc[0].numpy(), raw.conf[0].numpy(), raw.mask[0].numpy()))

    def median(bias: float) -> float:
        return float(np.median([_objects(*raw, priors, bias) for raw in outputs]))

    low, high = 0.0, 32.0
    while high - low > 1 / 32:
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) > OBJECTS else (low, middle)
    conf = network.prediction_layers[0].conf_layer
    conf.bias.data[:: network.architecture.num_classes + 1] = high


def _objects(loc: Floats, logits: Floats, mask: Floats, priors: Floats, bias: float) -> int:
    logits = logits.copy()
    logits[:, 0] += bias
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    found = detect(loc, scores, mask, priors, conf_threshold=0.05, nms_threshold=0.5, top_k=100)
    return int(np.count_nonzero(found.scores > SCORE))
