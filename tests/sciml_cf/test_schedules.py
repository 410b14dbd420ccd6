import math

import pytest
import torch

from sciml_cf.training.config import FitConfig
from sciml_cf.training.schedules import count_plateaus, learning_rate, should_stop

EPOCHS, STEPS = 12, 5
ERRORS = [5.0, 4.0, 4.5, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 3.9, 2.0, 2.0]


def rates(errors=(), **settings):
    config = FitConfig(epochs=EPOCHS, learning_rate=0.1, **settings).resolved()
    return [learning_rate(config, step, STEPS, errors[: step // STEPS]) for step in range(EPOCHS * STEPS)]


def by_torch(scheduler, feed):
    """The rates of torch's own scheduler, one call of ``feed`` after each step or epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    steered = scheduler(optimizer)
    seen = []
    for moment in range(EPOCHS * STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        feed(steered, moment)
    return seen


def test_cosine_is_torchs():
    expected = by_torch(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * STEPS),
        lambda steered, moment: steered.step(),
    )
    assert rates(schedule="cosine") == pytest.approx(expected, abs=1e-13)


def test_step_is_torchs():
    def feed(steered, moment):
        if (moment + 1) % STEPS == 0:
            steered.step()

    expected = by_torch(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.2), feed)
    assert rates(schedule="step", period=3, factor=0.2) == pytest.approx(expected)


@pytest.mark.parametrize("period", [1, 2, 3, 20])
def test_plateau_is_torchs(period):
    def feed(steered, moment):
        if (moment + 1) % STEPS == 0:
            steered.step(ERRORS[moment // STEPS])

    def scheduler(optimizer):  # torch counts the epochs that it tolerates, and drops the rate one later
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.2, patience=period - 1, threshold=0)

    expected = by_torch(scheduler, feed)
    assert rates(ERRORS, schedule="plateau", period=period, factor=0.2) == pytest.approx(expected)
    assert period == 20 or count_plateaus(ERRORS, period) >= 1


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "plateau"])
def test_warmup_multiplies_every_schedule(schedule):
    plain, warmed = (rates(ERRORS, schedule=schedule, period=2, warmup=warmup) for warmup in (0, 8))
    assert [b / a for a, b in zip(plain, warmed, strict=True)] == pytest.approx(
        [min(1.0, (step + 1) / 8) for step in range(EPOCHS * STEPS)]
    )


def test_stops_after_patience_epochs_without_a_lower_error():
    stops = [should_stop(ERRORS[:epochs], 3) for epochs in range(len(ERRORS) + 1)]
    assert stops.index(True) == 8  # the lowest error is that of epoch 5; epochs 6, 7 and 8 are not lower
    assert not any(should_stop(ERRORS[:epochs], None) for epochs in range(len(ERRORS) + 1))
    assert should_stop([1.0, 1.0], 1), "an equal error is not a lower one"
    assert not math.isnan(ERRORS[0]) and not should_stop([], 1)
