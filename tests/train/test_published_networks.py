"""Published networks against torchvision's, tensor by tensor and by their logits; and as ONNX."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
torchvision = pytest.importorskip("torchvision", reason="needs the train extra (torchvision)")
from torch import Tensor, nn

from searchspace import Space, build_space, parse_architecture
from searchspace.graph import INPUT, network_model
from searchspace.ops import BATCH_NORM_EPS
from searchspace.weights import network_parameters, random_weights
from searchspace.zoo import mnasnet, published_networks
from train.networks import Network, load_arrays

PX, CLASSES = 64, 10
models = torchvision.models


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other programs, threads that wait for each other take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mnasnet_b1() -> Space:
    """What torchvision has of that family: without squeeze-and-excite."""
    words = "k3e1" + " k3e3" * 3 + " k5e3" * 3 + " k5e6" * 3 + " k3e6" * 2 + " k5e6" * 4 + " k3e6"
    stages = ((16, 1, 1), (24, 3, 2), (40, 3, 2), (80, 3, 2), (96, 2, 1), (192, 4, 2), (320, 1, 1))
    return mnasnet.mnasnet("MnasNet-B1", words, stages, PX, CLASSES)


def of_name(name: str) -> Space:
    return build_space(name, PX, CLASSES)


@pytest.mark.parametrize(
    ("space", "theirs"),
    [
        (lambda: of_name("MobileNetV2"), models.mobilenet_v2),
        (lambda: of_name("MobileNetV3-Large"), models.mobilenet_v3_large),
        (lambda: of_name("MobileNetV3-Small"), models.mobilenet_v3_small),
        (mnasnet_b1, models.mnasnet1_0),
    ],
    ids=["MobileNetV2", "MobileNetV3-Large", "MobileNetV3-Small", "MnasNet-B1"],
)
def test_a_network_is_torchvisions_tensor_by_tensor_and_gives_its_logits(
    space: Callable[[], Space], theirs: Callable[..., nn.Module]
) -> None:
    torch.manual_seed(0)
    model = theirs(num_classes=CLASSES).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.75, 1.25)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.75, 1.25)
    built = space()
    network = Network(parse_architecture(built.name, built)).eval()
    tensors = list(tensors_of(model))
    wanted = list(network_parameters(network.architecture))
    assert [tuple(tensor.shape) for tensor in tensors] == [parameter.shape for parameter in wanted]
    network.load_state_dict({one.name: tensor for one, tensor in zip(wanted, tensors, strict=True)})
    images = torch.randn(2, 3, PX, PX)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), model(images), rtol=1e-4, atol=1e-5)


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """Those of torchvision in its order; variances take up what its batch norm adds to them beyond ours."""
    extra = {
        f"{name}.running_var": module.eps - BATCH_NORM_EPS
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            yield tensor + extra.get(name, 0.0)


@pytest.mark.parametrize("name", published_networks())
def test_a_network_gives_the_same_logits_through_torch_and_through_onnx(name: str) -> None:
    architecture = parse_architecture(name, build_space(name, PX, CLASSES))
    weights, images = random_weights(architecture, seed=3), torch.randn(2, 3, PX, PX)
    network = Network(architecture).eval()
    load_arrays(network, weights)
    data = network_model(architecture, weights, len(images)).SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT: images.numpy()})
    with torch.inference_mode():
        expected = network(images)
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-4 * expected.abs().max()
