"""docs/results_layerwise.md shows the result files, and the result files bear out its words."""

import re

import pytest

from benchmarks.common import RESULTS
from benchmarks.layerwise_docs import (
    GRADIENTS,
    PAGE,
    arm_accuracies,
    arm_times,
    claims_table,
    filled,
    softmax_claims,
    sweep_claims,
)
from sciml_cf.studies.harness.results import read_result

TEXT = PAGE.read_text()


@pytest.fixture(scope="module")
def sweeps():
    return read_result(RESULTS / "layerwise.json")["figures"]


@pytest.fixture(scope="module")
def explicit():
    return read_result(RESULTS / "softmax.json")["figures"]


def test_the_tables_are_those_of_the_files():
    assert filled(TEXT) == TEXT, "run python -m benchmarks.layerwise_docs"


def test_a_changed_figure_is_seen():
    changed = re.sub(r"0\.9(\d)", lambda match: f"0.8{match[1]}", TEXT)
    assert changed != TEXT and filled(changed) == TEXT


def test_a_sweep_is_at_the_mark_sooner_than_the_best_tuned_gradient_method(sweeps):
    times = {one["width"]: arm_times(one["runs"]) for one in sweeps["time"]}
    lead = {width: min(found[arm] for arm in GRADIENTS) / found["sweep"] for width, found in times.items()}
    assert 1 < lead[500] < lead[100] and lead[100] >= 4  # "the wider the network, the smaller the lead"
    assert all(found["random features"] < found["sweep"] for found in times.values())
    for one in sweeps["time"]:
        found = arm_accuracies(one["runs"])
        assert abs(found["sweep"] - found["random features"]) < 0.005  # "a sweep does not beat them"


def test_what_a_sweep_is_said_to_reach(sweeps):
    shares = {}
    for one in sweeps["forms"]:
        shares.setdefault((one["form"], one["width"]), []).append(one["test"])
    means = {key: sum(values) / len(values) for key, values in shares.items()}
    assert means["closest and top", 100] >= 0.945 and means["closest and top", 500] >= 0.975
    assert means["closest and top", 100] > means["closest and top from torch weights", 100]
    xor = next(toy for toy in sweeps["toys"] if toy["toy"] == "xor")["rows"][0]
    assert xor["of"] == 50 and xor["solved"] >= 45
    for toy in sweeps["toys"]:
        if toy["toy"] in ("sigmoid", "softplus", "softminus"):
            assert next(row for row in toy["rows"] if row["targets"] == "closest")["over_random_features"] <= 1.3


def test_shortest_targets_hold_in_deeper_networks_and_closest_ones_do_not(sweeps):
    def share(depth, mode):
        by_bound = {}
        for one in sweeps["depths"]:
            if (one["depth"], one["mode"]) == (depth, mode):
                by_bound.setdefault(one["bound"], []).append(one["test"])
        return max(sum(values) / len(values) for values in by_bound.values())

    assert all(share(depth, "closest") > share(depth, "minnorm") for depth in (2, 3))
    assert share(4, "minnorm") > share(4, "closest") + 0.1
    assert max(share(depth, "closest") for depth in (2, 3, 4)) < share(1, "closest") + 0.005


def test_what_is_said_of_the_explicit_layer(explicit):
    mean = [row["accuracy"] for row in explicit["priming"] if row["norm"] == 0 and row["smoothing"] == 1e-2]
    assert len(mean) == 3 and sum(mean) / 3 >= 0.87
    verdicts = {claim: holds for claim, holds, _ in softmax_claims(explicit)}
    assert verdicts["concatenation is no worse than the sum"]
    assert not verdicts["and ends in a better optimum"]
    small = [row for row in explicit["text"] if (row["split"], row["context"]) == ("blocks", 4)]
    at_small = {
        kind: [row["rows"][0]["test"] for row in small if row["aggregate"] == kind] for kind in ("sum", "concat")
    }
    assert min(at_small["concat"]) > max(at_small["sum"])  # "at a small one the concatenation is the worse"


def test_a_claim_that_fails_is_said_to_fail(sweeps):
    assert "| one sweep works | does not hold | 0.1 |" in claims_table([("one sweep works", False, "0.1")])
    claims = {claim: holds for claim, holds, _ in sweep_claims(sweeps)}
    assert not claims["more than 1000 times faster than gradient methods"]
    for one in sweeps["time"]:
        for run in one["runs"]:
            if run["arm"] == "sweep":
                run["seconds_to_mark"] /= 1e6
    claims = {claim: holds for claim, holds, _ in sweep_claims(sweeps)}
    assert claims["more than 1000 times faster than gradient methods"]
