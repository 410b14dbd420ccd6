"""One process of trainings that a test starts under torchrun, or alone (-m tests.sciml_cf.ddp_worker OUT JOB...)."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from sciml_cf.errors import TrainingDiverged
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, CrossEntropy, OneHot, Proximal
from sciml_cf.models import FNOConfig
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.history import validation_error
from tests.problems import Points, Shifted, mlp

# Four steps an epoch, five epochs: twenty steps. 24 samples a step divide among two and among three processes.
SGD = {"optimizer": "sgd", "learning_rate": 0.2, "warmup": 0, "schedule": "constant"}
MLP_JOBS = {
    "proximal": {},
    "algorithm 1": {"algorithm": 1, **SGD},
    "l2": {"method": "l2", **SGD},
    "relative": {"loss": "relative"},
    "relative l2": {"loss": "relative", "method": "l2", **SGD},
    "everything": {"average": 0.9, "clip": 0.1, "schedule": "plateau", "period": 1, "patience": 50},
    "classes": {"adaptive_clip": 0.1},
    "classes 1": {"algorithm": 1, **SGD},
    "classes l2": {"method": "l2", **SGD, "learning_rate": 0.02},
    "classes weighted": {},
}


#: Optimizers of their own, which move the complex weights of a Fourier neural operator.
OWN = {
    "fno nadam": lambda parameters: torch.optim.NAdam(parameters, lr=3e-3),
    "fno lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.3, max_iter=3, line_search_fn="strong_wolfe"),
}


class DivergesOnOneShare(Points):
    """Targets that grow without bound, on every second sample of a batch's order only."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        return {"x": item["x"], "y": item["y"] * (1e9 if self.spoilt() else 1.0)}

    def spoilt(self) -> bool:
        self.reads = getattr(self, "reads", 0) + 1
        return int(os.environ.get("RANK", "0")) == 1 and self.reads > 40


def normalised() -> nn.Sequential:
    """A backbone with running statistics, which differ between the shares of a batch."""
    model = mlp()
    return nn.Sequential(model[0], nn.BatchNorm1d(8).double(), model[1], nn.Dropout(0.1), model[2])


class Classes(Points):
    """Three classes, by where the first target lies."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        return {"x": item["x"], "y": torch.bucketize(item["y"].flatten()[0], torch.tensor([-0.3, 0.3]))}


def work(job: str, out: Path) -> None:
    torch.set_num_threads(1)
    heads: list[str] = []
    put = ClosedFormHead._put

    def recorded(self, state) -> None:
        put(self, state)
        heads.append(hashlib.sha256(state["head"].numpy().tobytes()).hexdigest())

    ClosedFormHead._put = recorded
    outcome = ""
    train, validation, model = Points(96), Points(17, seed=1), mlp()
    settings, objective = MLP_JOBS.get(job, {}), None
    if job.startswith("fno"):
        train, validation, model = Shifted(96), Shifted(17, seed=1), FNOConfig(width=8, modes=6, layers=2).build()
    elif job.startswith("classes"):
        train, validation, model = Classes(96), Classes(17, seed=1), mlp(outputs=3)
        objective = CrossEntropy(0.1) if job == "classes" else OneHot(0.1)
        if job == "classes weighted":
            objective = CrossEntropy(class_weights=(1.0, 0.0, 30.0))
    elif job == "normalised":
        model = normalised()
    elif job == "diverging":
        train, settings = DivergesOnOneShare(96), MLP_JOBS["l2"]
    epochs, resume = 5, False
    if job == "interrupted":  # five epochs in two parts, after a look at all samples; the second resumes
        config = FitConfig(epochs=5, batch_size=24, accelerator="cpu")
        train.stop_after = 96 + 2 * 96 // int(os.environ.get("WORLD_SIZE", "1"))
        resume = True
        try:
            fit(model, Stopping(train), validation, config=config, out=out, progress=False)
        except KeyboardInterrupt:
            model = mlp(seed=4)
    config = FitConfig(epochs=epochs, batch_size=24, accelerator="cpu", **settings)
    try:
        options = {"resume": resume, "objective": objective, "progress": False, "optimizer": OWN.get(job)}
        history = fit(model, train, validation, config=config, out=out, **options)
        outcome = json.dumps([[row["train_loss"], validation_error(row)] for row in history.rows])
    except TrainingDiverged as error:
        outcome = str(error)
    weights = hashlib.sha256(b"".join(_bytes(value) for value in model.state_dict().values() if torch.is_tensor(value)))
    report = {"heads": heads, "outcome": outcome, "weights": weights.hexdigest()}
    reports = [report]
    if dist.is_initialized():
        reports = [None] * dist.get_world_size()
        dist.all_gather_object(reports, report)
    if int(os.environ.get("RANK", "0")) == 0:
        out.with_suffix(".json").write_text(json.dumps(reports))
    ClosedFormHead._put = put


def sharded(out: Path) -> None:
    """Twenty steps of one's own loop with a backbone sharded by FSDP and a whole head, then the same in one process."""
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo")
    data = Points(96)
    losses, heads = [], []
    for part in (slice(rank, None, world), slice(None)):
        model = mlp(width=16)
        loss_of = ClosedFormLoss(model[-1], Proximal())
        if part.step:
            fully_shard(model[0], mesh=init_device_mesh("cpu", (world,)))
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
        steps = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = loss_of(model(data.x[part]), data.y[part])
            loss.backward()
            optimizer.step()
            steps.append(loss.detach())
        total = torch.stack(steps)
        if part.step:
            dist.all_reduce(total)
            total /= world
            assert type(model[0].weight).__name__ == "DTensor"
            dist.destroy_process_group()  # while there are several processes, moments are merged over all of them
        losses.append(total.tolist())
        heads.append(loss_of.head.state()["head"].tolist())
    if rank == 0:
        out.write_text(json.dumps({"losses": losses, "heads": heads}))


class Stopping(torch.utils.data.Dataset):
    """Ctrl-C in every process at once, in the middle of a later epoch."""

    def __init__(self, data: Points) -> None:
        self.data, self.left = data, data.stop_after

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.data[index]


def _bytes(value: torch.Tensor) -> bytes:
    return (torch.view_as_real(value) if value.is_complex() else value).detach().contiguous().numpy().tobytes()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        if name == "sharded":
            sharded(folder / "sharded.json")
            continue
        work(name, folder / name.replace(" ", "_"))
    if dist.is_initialized():
        dist.destroy_process_group()
