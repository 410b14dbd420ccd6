import math

from sciml_cf.studies.harness.extension import at_edge, beyond
from sciml_cf.studies.harness.grid import Trial
from sciml_cf.studies.harness.selection import Rung, edge_sentence, is_found, over_seeds, select, select_and_report

CELLS = {
    "a": [{"rate": rate} for rate in (1.0, 2.0, 4.0, 8.0)],
    "b": [{"rate": rate} for rate in (3.0, 30.0)],
    "c": [{"rate": 100.0}],
}


def run(best):
    """Errors ``|log(rate / best)|`` plus a term that falls with epochs; rates from 30 on diverge."""
    asked = []

    def run_all(trials, label):
        asked.append([(trial.settings["rate"], trial.settings["epochs"]) for trial in trials])
        results = []
        for trial in trials:
            rate, epochs = trial.settings["rate"], trial.settings["epochs"]
            error = {"best_validation_mse": abs(math.log(rate / best)) + 1 / epochs}
            results.append({"diverged": "by step 3"} if rate >= 30 else error)
        return results

    return run_all, asked


def make(cell, candidate, epochs):
    return Trial(f"{cell} {candidate['rate']} {epochs}", {**candidate, "epochs": epochs})


def test_the_best_survives_and_each_rung_trains_only_what_is_left():
    run_all, asked = run(4.0)
    chosen, log = select(CELLS, [Rung(2, 2), Rung(8, 1)], make, run_all)
    assert chosen == {"a": {"rate": 4.0}, "b": {"rate": 3.0}, "c": {}}
    assert asked[0] == [(1.0, 2), (2.0, 2), (4.0, 2), (8.0, 2), (3.0, 2), (30.0, 2), (100.0, 2)]
    assert sorted(asked[1]) == [(2.0, 8), (3.0, 8), (4.0, 8)] or sorted(asked[1]) == [(3.0, 8), (4.0, 8), (8.0, 8)]
    assert [entry["best_validation_mse"] for entry in log["c"]] == [math.inf]
    assert len(log["a"]) == 6


def test_when_a_whole_rung_diverges_the_next_best_are_tried():
    asked = []

    def run_all(trials, label):
        asked.append([(trial.settings["rate"], trial.settings["epochs"]) for trial in trials])
        lost = [trial.settings["rate"] > (3 if trial.settings["epochs"] > 2 else 16) for trial in trials]
        return [
            {"diverged": "by step 3"} if gone else {"best_validation_mse": 1 / trial.settings["rate"]}
            for trial, gone in zip(trials, lost, strict=True)
        ]

    cells = {"fast": [{"rate": rate} for rate in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)], "sound": [{"rate": 3.0}]}
    chosen, log = select(cells, [Rung(2, 2), Rung(8, 1)], make, run_all)
    assert chosen == {"fast": {"rate": 2.0}, "sound": {"rate": 3.0}}
    assert asked[1:] == [[(16.0, 8), (8.0, 8), (3.0, 8)], [(4.0, 8), (2.0, 8)]]
    assert [entry["best_validation_mse"] for entry in log["fast"][-2:]] == [math.inf, 0.5]


def test_a_cell_with_nothing_sound_is_empty_after_every_candidate():
    def run_all(trials, label):
        early = [trial.settings["epochs"] == 2 for trial in trials]
        return [{"best_validation_mse": 1.0} if sound else {"diverged": "by step 3"} for sound in early]

    chosen, log = select({"a": CELLS["a"]}, [Rung(2, 1), Rung(8, 1)], make, run_all)
    assert chosen == {"a": {}}
    assert len(log["a"]) == 8


def test_several_seeds_judge_a_candidate_together():
    def run_all(trials, label):
        scores = {"a 1": 1.0, "a 2": 4.0, "b": 3.0, "c 1": 0.1}
        return [{"diverged": "by step 3"} if trial.name == "c 2" else
                {"best_validation_mse": scores[trial.name], "seconds": 1.0} for trial in trials]  # fmt: skip

    def repeats(trial):
        return [trial] if trial.name == "b" else [Trial(f"{trial.name} {seed}", {}) for seed in (1, 2)]

    found = over_seeds(run_all, repeats)([Trial(name, {}) for name in "abc"], "select")
    assert math.isclose(found[0]["best_validation_mse"], 2.0)
    assert found[1] == {"best_validation_mse": 3.0, "seconds": 1.0} and "diverged" in found[2]


def test_the_edge_of_a_grid_is_told():
    grid = [{"rate": rate, "strength": strength} for rate in (1.0, 2.0, 4.0) for strength in (0.1,)]
    assert at_edge({"rate": 4.0, "strength": 0.1}, grid) == ["rate"]
    assert at_edge({"rate": 2.0, "strength": 0.1}, grid) == []


def test_the_next_setting_keeps_the_ratio_and_stays_between_its_bounds():
    grid = [{"rate": rate, "forgetting": f} for rate in (1.0, 3.0, 9.0) for f in (0.8, 0.9)]
    assert beyond("rate", {"rate": 9.0, "forgetting": 0.8}, grid) == {"rate": 27.0, "forgetting": 0.8}
    assert beyond("rate", {"rate": 1.0, "forgetting": 0.8}, grid) == {"rate": 0.333, "forgetting": 0.8}
    assert beyond("forgetting", {"rate": 1.0, "forgetting": 0.9}, grid) == {"rate": 1.0, "forgetting": 0.95}
    assert beyond("forgetting", {"rate": 1.0, "forgetting": 0.8}, grid) == {"rate": 1.0, "forgetting": 0.6}
    assert beyond("rate", {"rate": 0.0}, [{"rate": 0.0}, {"rate": 1.0}]) is None


def extended(best, times):
    run_all, asked = run(best)

    def reports(cell, options):
        return [({"seed": 1}, make(cell, options, 8))]

    found = select_and_report({"a": CELLS["a"]}, [Rung(2, 2), Rung(8, 1)], make, reports, run_all, extend=times)["a"]
    return found, asked


def test_a_choice_at_the_edge_is_sought_beyond_it_up_to_so_often():
    inside, asked = extended(4.0, 2)
    assert inside["chosen"] == {"rate": 4.0} and inside["at_edge"] == [] and len(inside["selection"]) == 6
    once, asked = extended(15.0, 2)
    assert once["chosen"] == {"rate": 16.0} and once["at_edge"] == []
    assert asked[2:4] == [[(16.0, 8)], [(32.0, 8)]]  # 32 diverges, so that 16 is at no edge any more
    low, asked = extended(0.2, 2)
    assert low["chosen"] == {"rate": 0.25} and low["at_edge"] == ["rate"]
    assert extended(0.2, 0)[0]["chosen"] == {"rate": 1.0}


def test_what_an_earlier_call_found_is_not_run_again():
    first, _ = extended(15.0, 0)
    assert first["chosen"] == {"rate": 8.0} and first["at_edge"] == ["rate"]
    run_all, asked = run(15.0)

    def reports(cell, options):
        return [({"seed": 1}, make(cell, options, 8))]

    arguments = ({"a": CELLS["a"]}, [Rung(2, 2), Rung(8, 1)], make, reports, run_all)
    again = select_and_report(*arguments, extend=2, earlier={"a": first, "not asked": first})
    assert list(again) == ["a"] and again["a"]["chosen"] == {"rate": 16.0} and again["a"]["at_edge"] == []
    assert asked == [[(16.0, 8)], [(32.0, 8)], [(16.0, 8)]]  # the last one reports
    asked.clear()
    same = select_and_report(*arguments, extend=2, earlier=again)
    assert same == again and not any(asked)
    chosen_anew = select_and_report(*arguments, earlier={"a": {**first, "selection": []}})
    assert chosen_anew["a"] == first and asked[-1] == []  # the same choice: its run is not made again
    assert [epochs for trials in asked for _, epochs in trials] == [2, 2, 2, 2, 8, 8]
    asked.clear()
    other = select_and_report(*arguments, earlier={"a": {**first, "selection": [], "chosen": {"rate": 1.0}}})
    assert other["a"]["chosen"] == first["chosen"] and asked[-1] == [(8.0, 8)]


def test_a_cell_of_an_earlier_call_is_known_from_others():
    found, _ = extended(15.0, 1)
    lost = {"chosen": {}, "selection": [{"settings": {"rate": 1.0}, "epochs": 2, "best_validation_mse": math.inf}]}
    assert is_found(found, CELLS["a"], 8) and is_found({**lost, "runs": []}, CELLS["a"], 8)
    for key in ("chosen", "selection", "runs"):
        assert not is_found({name: value for name, value in found.items() if name != key}, CELLS["a"], 8)
        assert not is_found({**found, key: None}, CELLS["a"], 8)
    assert not is_found(found, CELLS["a"], 9)  # what was chosen was not judged after so many epochs
    assert not is_found({**found, "selection": []}, CELLS["a"], 8)
    assert not is_found(found, [{"rate": 1.0, "strength": 1.0}], 8)  # settings of another method
    assert not is_found(None, CELLS["a"], 8)


def test_a_choice_that_nothing_beyond_betters_is_at_no_edge():
    found, _ = extended(8.1, 2)
    assert found["chosen"] == {"rate": 8.0} and found["at_edge"] == []
    assert [entry["settings"]["rate"] for entry in found["selection"] if entry.get("beyond_the_edge")] == [16.0]
    assert edge_sentence([found, {"at_edge": ["rate"]}]) == [
        "In 1 of 2 rows candidates beyond the edge were tried too.",
        "In 1 of 2 rows the choice is at an edge of the candidates: others may do better there.",
    ]
