"""Time of a training step with the Fourier layers of this package and with neuraloperator's, in interleaved pairs.

python -m benchmarks.fourier_layer      writes benchmarks/results/fourier_layer.json

A step is the forward and the backward pass of one FNO of the same weights, on one thread; times are processor times.
The order within a pair alternates, and the result is the median of their ratios over the pairs. Outputs are compared
on the first batch: on odd grids they differ, see ``sciml_cf.models.spectral``.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import RESULTS, ROOT, between, write_result
from sciml_cf.models import FNOConfig
from sciml_cf.training.malloc import keep_memory

PAGE = ROOT / "docs" / "settings.md"


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        grids: the points along each axis.
        points: about so many of all samples of a batch.
        width, modes, layers: of the FNO.
        pairs: steps of each layer, for each grid.
    """

    grids: tuple[tuple[int, ...], ...] = (
        (32, 32), (64, 64), (65, 65), (85, 85), (128, 128), (129, 129), (256, 256), (32, 32, 32), (33, 33, 33),
    )  # fmt: skip
    points: int = 2**17
    width: int = 32
    modes: int = 12
    layers: int = 4
    pairs: int = 9


def seconds(model: nn.Module, x: Tensor) -> float:
    """Processor time of one step."""
    begun = time.process_time()
    model(x).square().mean().backward()
    return time.process_time() - begun


def compared(grid: tuple[int, ...], config: Config) -> dict[str, Any]:
    """Medians of the seconds a step and of the ratio, with its quartiles, and the difference of outputs."""
    modes = config.modes if len(grid) < 3 else config.modes // 2  # as a grid of 32 points has them
    sizes = {"num_dims": len(grid), "width": config.width, "modes": modes, "layers": config.layers}
    models = [FNOConfig(**sizes, spectral=kind).build() for kind in ("consistent", "neuraloperator")]
    batch = max(1, round(config.points / torch.Size(grid).numel()))
    x = torch.randn(batch, 1, *grid, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (model(x) for model in models)
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    for model in models:  # the first step is not counted
        seconds(model, x)
    times: list[list[float]] = [[], []]
    for pair in range(config.pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            times[which].append(seconds(models[which], x))
    ratios = [one / other for one, other in zip(*times, strict=True)]
    return {
        "grid": grid,
        "batch": batch,
        "modes": modes,
        "median_seconds": {"ours": statistics.median(times[0]), "neuraloperator": statistics.median(times[1])},
        "median_ratio": statistics.median(ratios),
        "quartiles_of_ratio": statistics.quantiles(ratios, n=4)[::2],
        "difference_of_outputs": difference,
    }


def filled(text: str) -> str:
    """The page, filled from the result file."""
    rows = json.loads((RESULTS / "fourier_layer.json").read_text())["figures"]["rows"]
    ratios = ", ".join(f"{row['median_ratio']:.2f} at {' x '.join(map(str, row['grid']))}" for row in rows)
    even = max(row["difference_of_outputs"] for row in rows if not any(n % 2 for n in row["grid"]))
    said = (
        f"A training step of an FNO on one core, over one with neuraloperator's layers: {ratios}. On even grids the "
        f"outputs differ by {even:.0e} of the largest (`python -m benchmarks.fourier_layer`)."
    )
    return between(text, "the Fourier layer", said)


def main() -> None:
    """Measure, write the result file and fill the page."""
    config = Config()
    torch.set_num_threads(1)
    keep_memory()  # as the commands that train do
    rows = []
    for grid in config.grids:
        rows.append(compared(grid, config))
        print(grid, f"{rows[-1]['median_ratio']:.2f}", rows[-1]["quartiles_of_ratio"], flush=True)
    write_result("fourier_layer", config=config, seeds=[0], figures={"rows": rows})
    PAGE.write_text(filled(PAGE.read_text()))


if __name__ == "__main__":
    main()
