"""Lightning modules whose forward returns more than the prediction, or whose last layer is not the last that runs."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf import Proximal
from tests.problems import Shifted
from tests.sciml_cf.test_passed_in import Net, Registered

L = pytest.importorskip("lightning.pytorch")
from sciml_cf.adapters.lightning import ClosedFormCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


class Module(L.LightningModule):
    def __init__(self, model, entry=None, example=None):
        super().__init__()
        self.model, self.entry, self.example_input_array = model, entry, example

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, index):
        found = self(batch[0])
        return ((found if self.entry is None else found[self.entry]) - batch[1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def trained(module, data, **settings):
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False, **settings}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    L.Trainer(**settings, **quiet).fit(module, DataLoader(data, 4))
    return torch.cat([value.flatten() for value in module.model.state_dict().values()])


def pairs():
    data = Shifted(8, points=8)
    return TensorDataset(data.x, data.y)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_the_callback_finds_the_prediction(algorithm):
    ends = []
    for kind, entry in (("tensor", None), ("dict", "y"), ("tuple", 0)):
        callback = ClosedFormCallback(Proximal(), algorithm=algorithm, prediction=entry)
        ends.append(trained(Module(Net(kind), entry), pairs(), callbacks=[callback]))
    torch.testing.assert_close(ends[1], ends[0])
    torch.testing.assert_close(ends[2], ends[0])


def test_a_prediction_that_is_not_known_is_one_line():
    with pytest.raises(TypeError, match="ClosedFormCallback: `prediction` must say which entry .* prediction='y'"):
        trained(Module(Net("dict"), "y"), pairs(), callbacks=[ClosedFormCallback(Proximal())])
    with pytest.raises(TypeError, match="ClosedFormCallback: `prediction` must be a key, an index, or a function"):
        ClosedFormCallback(Proximal(), prediction=1.5)


def test_an_example_of_the_module_shows_its_head():
    model = Registered()
    before = model.out.weight.detach().clone(), model.unused.weight.detach().clone()
    data = TensorDataset(torch.randn(8, 2), torch.randn(8, 1))
    trained(Module(model, example=torch.zeros(1, 2)), data, callbacks=[ClosedFormCallback(Proximal())])
    assert not torch.equal(model.out.weight, before[0]) and torch.equal(model.unused.weight, before[1])
