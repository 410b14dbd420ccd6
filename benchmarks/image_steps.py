"""Cost of a training step of ResNet-18 and NF-Net-F0 with a head in closed form, over that of l2.

python -m benchmarks.image_steps [--rounds 5]      writes benchmarks/results/image_steps.json

Synthetic images of the right shapes, one core, processor time, medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from sciml_cf.classification import CLASSIFIERS
from sciml_cf.classification.methods import classification_loss, train_step
from sciml_cf.head import find_head
from sciml_cf.studies.harness.results import write_result

RESULT = Path(__file__).parent / "results" / "image_steps.json"
# model: (classes, points along a side, images a step)
SHAPES = {"resnet18": (100, 32, 32), "nfnet-f0": (1000, 192, 2)}
ARMS = {"l2": ("l2", 2), "proximal, Alg. 1": ("proximal", 1), "proximal": ("proximal", 2)}


def cost(name: str, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a step of each arm, and over l2 in the same round."""
    classes, size, batch = SHAPES[name]
    torch.manual_seed(0)
    x, labels = torch.randn(batch, 3, size, size), torch.randint(classes, (batch,))
    arms = {}
    for arm, (method, algorithm) in ARMS.items():
        model = CLASSIFIERS[name](classes=classes).build(seed=0)
        loss_of = classification_loss(find_head(model), method)  # pyright: ignore[reportArgumentType]
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(parameters, 1e-3, momentum=0.9, nesterov=True)
        arms[arm] = model, loss_of, optimizer, x, labels, algorithm
    taken: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds + 1):
        for arm, (*words, algorithm) in arms.items():
            start = time.process_time()
            train_step(*words, algorithm=algorithm)
            taken[arm].append(time.process_time() - start)
    steady = {arm: seconds[1:] for arm, seconds in taken.items()}
    return {
        arm: {
            "over_l2": statistics.median(a / b for a, b in zip(seconds, steady["l2"], strict=True)),
            "seconds": statistics.median(seconds),
        }
        for arm, seconds in steady.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    write_result(
        RESULT,
        benchmark="image_steps",
        command=f"python -m benchmarks.image_steps --rounds {rounds}",
        config={"rounds": rounds, "shapes": SHAPES},
        seeds=[0],
        figures={name: cost(name, rounds) for name in SHAPES},
    )
    print(RESULT.read_text())
