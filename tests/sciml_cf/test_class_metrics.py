"""Measures of classification against scikit-learn, counting by hand, and limits."""

import json

import numpy as np
import pytest
import sklearn.metrics
import torch

from sciml_cf.classification.metrics import (
    accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    reliability,
    top_k_accuracy,
)
from sciml_cf.studies.harness.class_figures import confusion_figure, reliability_figure


@pytest.fixture
def scored():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 6, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(6, (200,), generator=generator)


def test_all_measures_are_scikit_learns(scored):
    probabilities, labels = scored
    p, y = probabilities.numpy(), labels.numpy()
    assert accuracy(probabilities, labels).mean() == sklearn.metrics.accuracy_score(y, p.argmax(1))
    for k in (1, 3, 5):
        theirs = sklearn.metrics.top_k_accuracy_score(y, p, k=k)
        assert top_k_accuracy(probabilities, labels, k=k).mean() == pytest.approx(theirs)
    np.testing.assert_array_equal(
        confusion_matrix(probabilities, labels), sklearn.metrics.confusion_matrix(y, p.argmax(1))
    )
    assert log_loss(probabilities, labels).mean() == pytest.approx(sklearn.metrics.log_loss(y, p))
    theirs = ((p - np.eye(6)[y]) ** 2).sum(1).mean()
    assert brier_score(probabilities, labels).mean() == pytest.approx(theirs)


def test_points_of_a_sample_are_averaged(scored):
    probabilities, labels = scored
    fields, maps = probabilities.reshape(20, 2, 5, 6).movedim(-1, 1), labels.reshape(20, 2, 5)
    for metric in (accuracy, top_k_accuracy, log_loss, brier_score):
        assert metric(fields, maps).shape == (20,)
        torch.testing.assert_close(metric(fields, maps), metric(probabilities, labels).reshape(20, 10).mean(1))
    torch.testing.assert_close(confusion_matrix(fields, maps), confusion_matrix(probabilities, labels))
    assert expected_calibration_error(fields, maps) == expected_calibration_error(probabilities, labels)


def test_outputs_of_nan_are_wrong_and_of_equal_ones_the_first_is_taken():
    labels = torch.tensor([0, 1, 2])
    assert accuracy(torch.full((3, 3), torch.nan), labels).tolist() == [0, 0, 0]
    assert top_k_accuracy(torch.full((3, 3), torch.nan), labels, k=2).tolist() == [0, 0, 0]
    assert accuracy(torch.zeros(3, 3), labels).tolist() == [1, 0, 0]
    assert top_k_accuracy(torch.zeros(3, 3), labels, k=2).tolist() == [1, 1, 0]
    assert top_k_accuracy(torch.zeros(3, 3), labels, k=3).tolist() == [1, 1, 1]


def test_reliability_counts_by_hand():
    top = torch.tensor([0.5, 0.55, 0.6, 0.85, 1.0, 1.0], dtype=torch.float64)
    probabilities = torch.stack([top, 1 - top], 1)
    labels = torch.tensor([0, 0, 1, 0, 0, 1])
    found = reliability(probabilities, labels, bins=10)  # 0.5 belongs to (0.4, 0.5]
    assert found.count.tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 1, 2]
    assert found.accuracy[[4, 5, 8, 9]].tolist() == pytest.approx([1.0, 0.5, 1.0, 0.5])
    assert found.confidence[[4, 5, 8, 9]].tolist() == pytest.approx([0.5, 0.575, 0.85, 1.0])
    assert torch.isnan(found.accuracy[0])
    expected = (1 * 0.5 + 2 * 0.075 + 1 * 0.15 + 2 * 0.5) / 6
    assert found.expected_calibration_error == pytest.approx(expected)


def test_honest_probabilities_are_calibrated_and_overconfident_ones_are_not():
    generator = torch.Generator().manual_seed(1)
    probabilities = (1.5 * torch.randn(40_000, 4, generator=generator, dtype=torch.float64)).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=generator).flatten()
    assert expected_calibration_error(probabilities, labels) < 0.015
    sure = probabilities.pow(3) / probabilities.pow(3).sum(1, keepdim=True)
    assert expected_calibration_error(sure, labels) > 0.15


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (torch.ones(3, 2) / 2, torch.tensor([0, 1]), r"`labels` must be integers \(S, \*N\) = \(3,\)"),
        (torch.ones(3, 2) / 2, torch.tensor([0.0, 1.0, 0.0]), "`labels` must be integers"),
        (torch.ones(3, 2) / 2, torch.tensor([0, 1, 2]), "`labels` must be from 0 to 1; got 0 to 2"),
        (torch.ones(0, 2), torch.zeros(0, dtype=torch.int64), "`labels` must be from 0 to 1; got none"),
        (torch.ones(3, 2), torch.tensor([0, 1, 1]), r"`probabilities` must .* sums from 2 to 2. Apply softmax"),
        (torch.full((3, 2), torch.nan), torch.tensor([0, 1, 1]), "`probabilities` must"),
    ],
)
def test_what_is_no_forecast_is_refused(outputs, labels, message):
    with pytest.raises(ValueError, match=message):
        reliability(outputs, labels)


def test_wrong_settings_are_refused(scored):
    with pytest.raises(ValueError, match="`k` must be"):
        top_k_accuracy(*scored, k=0)
    with pytest.raises(ValueError, match="`bins` must be"):
        reliability(*scored, bins=0)


def test_the_figures_show_the_numbers():
    curve = {
        "count": [0, 30, 10],
        "confidence": [float("nan"), 0.5, 0.9],
        "accuracy": [float("nan"), 0.6, 0.7],
        "ece": 0.12,
    }
    axes = reliability_figure({"proximal": curve}).axes[0]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.5, 0.6], [0.9, 0.7]])
    assert axes.lines[1].get_label() == "proximal, ECE 0.120"
    axes = confusion_figure([[3, 1], [0, 4]], ["a", "b"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "4"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])


def test_plain_values_of_a_reliability_can_be_written_and_say_where_a_bin_is_empty():
    probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.3, 0.7]])
    plain = reliability(probabilities, torch.tensor([0, 1, 1]), bins=4).plain()
    assert plain["count"] == [0, 0, 2, 1] and plain["accuracy"] == [None, None, 0.5, 1.0]
    assert plain["confidence"][2:] == pytest.approx([0.7, 0.9]) and plain["confidence"][:2] == [None, None]
    assert plain["ece"] == pytest.approx((2 * 0.2 + 0.1) / 3)  # |.5 - .7| and |1 - .9|
    json.dumps(plain, allow_nan=False)
