"""A process that measures and adapts a run, also under torchrun (-m tests.sciml_cf.evaluate_worker RUN DATA OUT)."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.evaluate.adaptation import adapt, adapted_posterior
from sciml_cf.head.posterior import posterior
from sciml_cf.training.distributed import is_first_process, join_processes
from sciml_cf.training.run_folder import load


def main(run: Path, data: Path, out: Path) -> None:
    """Write everything that is measured."""
    torch.set_num_threads(1)
    join_processes()
    found: dict[str, torch.Tensor] = {}
    for lazy in (False, True):
        result = evaluate_transfer(load(run), data, resolutions=[32, 64], reference=64, lazy=lazy)
        for name, values in result.data_vars.items():
            found[f"{lazy} {name}"] = torch.from_numpy(values.to_numpy())
    train, validation = (FieldDataset(data, part, resolution=64, lazy=True) for part in ("train", "validation"))
    bars = posterior(load(run), train, validation, batch_size=3, shared=True)
    model = load(run)
    adapted = adapt(model, train, batch_size=3, shared=True)
    again = adapted_posterior(model, train, adapted, batch_size=3, shared=True)
    found |= {"gram": bars.gram, "noise": bars.noise, "head": adapted.head, "again": again.noise, "scale": again.scale}
    if is_first_process():
        torch.save(found, out)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
