"""Image classifiers against the libraries they come from, and a head in closed form on each."""

import importlib.util

import pytest
import torch

from sciml_cf.classification import CLASSIFIERS, NFNetF0Config, PerceptronConfig, ResNet18Config
from sciml_cf.classification.methods import classification_loss, train_step
from sciml_cf.classification.vision import timm, torchvision
from sciml_cf.head import find_head
from sciml_cf.models import build_from, describe

needs_vision = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torchvision", "timm")), reason="needs the extra `vision`"
)
IMAGES = {"perceptron": (1, 8), "resnet18": (3, 32), "nfnet-f0": (3, 64)}


def images(name, count=4):
    channels, size = IMAGES[name]
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "perceptron" else [needs_vision]) for name in CLASSIFIERS]
)


@each
def test_a_build_depends_on_the_seed_alone_and_can_be_described(name):
    state = torch.get_rng_state()
    first, again, other = (CLASSIFIERS[name](classes=7).build(seed=seed).eval() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    rebuilt = build_from(describe(CLASSIFIERS[name](classes=7)), seed=3).eval()
    x = images(name, 1)
    with torch.no_grad():
        assert torch.equal(first(x), again(x)) and torch.equal(first(x), rebuilt(x))
        assert first(x).shape == (1, 7)
        assert not torch.allclose(first(x), other(x))


@each
def test_the_head_is_the_last_layer_with_or_without_a_bias(name):
    widths = {"perceptron": 64, "resnet18": 512, "nfnet-f0": 3072}
    for bias in (True, False):
        model = CLASSIFIERS[name](classes=5, bias=bias).build()
        layer = find_head(model)
        assert (layer.in_features, layer.out_features, layer.bias is not None) == (widths[name], 5, bias)
        assert layer is [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]


@needs_vision
def test_resnet18_is_the_library_s():
    library = torchvision("models").resnet18(num_classes=100).eval()
    own = ResNet18Config(classes=100, stem="imagenet").build().eval()
    own.load_state_dict(library.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(own(x), library(x), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in own.parameters()) == 11_227_812  # 11,689,512 with 1000 classes, as published


@needs_vision
def test_resnet18_for_small_images_differs_in_its_stem_alone():
    library, own = torchvision("models").resnet18(num_classes=10).eval(), ResNet18Config().build().eval()
    rest = {name: value for name, value in own.state_dict().items() if name != "conv1.weight"}
    assert library.load_state_dict(rest, strict=False).missing_keys == ["conv1.weight"]
    assert own.conv1.weight.shape == (64, 3, 3, 3)
    x = images("resnet18")
    with torch.no_grad():
        features = library.layer1(library.relu(library.bn1(torch.nn.functional.conv2d(x, own.conv1.weight, padding=1))))
        assert features.shape == (4, 64, 32, 32)  # nothing is thrown away before the first block
        features = library.avgpool(library.layer4(library.layer3(library.layer2(features)))).flatten(1)
        torch.testing.assert_close(own(x), library.fc(features), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in own.parameters()) == 11_173_962


@needs_vision
def test_nfnet_f0_is_the_library_s():
    library = timm("models").create_model("dm_nfnet_f0", num_classes=1000).eval()
    own = NFNetF0Config(drop_rate=0.0, drop_path_rate=0.0).build().eval()
    own.load_state_dict(library.state_dict())
    x = images("nfnet-f0", 2)
    with torch.no_grad():
        torch.testing.assert_close(own(x), library(x), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in own.parameters()) == 71_489_284  # 71.5 million, as published


@needs_vision
@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes", "size"), [("resnet18", 100, 32), ("nfnet-f0", 1000, 192)])
@pytest.mark.parametrize("algorithm", [1, 2])
def test_a_head_in_closed_form_lowers_the_loss_of_each_over_twenty_steps(name, classes, size, algorithm):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, size, size, generator=generator)
    labels = torch.randint(classes, (8,), generator=generator)
    model = CLASSIFIERS[name](classes=classes).build(seed=0)
    loss_of = classification_loss(find_head(model), "proximal", strength=10.0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-2, momentum=0.9, nesterov=True)
    losses = [float(train_step(model, loss_of, optimizer, x, labels, algorithm=algorithm)) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0], losses


def test_wrong_settings_are_told_in_one_line():
    for wrong, message in (
        (lambda: PerceptronConfig(hidden=()), "`hidden` must"),
        (lambda: PerceptronConfig(classes=1), "`classes` must"),
        (lambda: ResNet18Config(stem="own"), "`stem` must"),
        (lambda: NFNetF0Config(drop_rate=1.0), "`drop_rate` must be from 0 to below 1; got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_missing_library_is_told_in_one_line(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ImportError, match=r"`torchvision` must be installed.*No module named.*sciml-cf\[vision\]"):
        ResNet18Config().build()
