import json
import multiprocessing
import threading
import time
import warnings

import pytest

from sciml_cf.errors import BenchmarkError
from sciml_cf.studies.harness.grid import Trial, Workers, _warnings_of, one_at_a_time, run_trials

TRIALS = [Trial(f"trial {n}", {"n": n}) for n in range(6)]


def square(settings, scratch):
    """Counts its own calls beside the results."""
    with scratch.with_name(f"{scratch.name}.calls").open("a") as file:
        file.write("x")
    if settings.get("stop") == settings["n"]:
        raise KeyboardInterrupt
    return {"square": settings["n"] ** 2}


def stop_at_three(settings, scratch):
    if settings["n"] == 3 and not scratch.exists():
        scratch.mkdir()
        raise KeyboardInterrupt
    return square(settings, scratch)


def die(settings, scratch):
    import os

    time.sleep(0.1)
    os._exit(9)


def warn(settings, scratch):
    warnings.warn("the head swings", UserWarning, stacklevel=1)
    return {}


def warn_and_fail(settings, scratch):
    warnings.warn("the head swings", UserWarning, stacklevel=1)
    return {"x": 1 / 0}


def write_slowly(folder, log):
    """One of several processes that make the same file."""
    with one_at_a_time(folder):
        if not (folder / "data").exists():
            with log.open("a") as file:
                file.write("x")
            time.sleep(0.3)
            (folder / "data").touch()


def test_files_that_several_tasks_need_are_made_by_one(tmp_path):
    context = multiprocessing.get_context("fork")
    tasks = [context.Process(target=write_slowly, args=(tmp_path / "data", tmp_path / "log")) for _ in range(4)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0] * 4
    assert (tmp_path / "log").read_text() == "x"


def calls(folder):
    return {path.name: path.read_text() for path in folder.glob("*.calls")}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_nothing_is_run_twice(workers, tmp_path):
    results = run_trials(TRIALS, square, tmp_path, workers=Workers(workers), label="t")
    assert results == [{"square": n**2} for n in range(6)]
    assert run_trials(TRIALS[::-1], square, tmp_path, workers=Workers(1), label="t") == results[::-1]
    assert calls(tmp_path) == {f"trial {n}.calls": "x" for n in range(6)}
    assert json.loads((tmp_path / "trial 4.json").read_text())["settings"] == {"n": 4}


def test_an_interrupted_grid_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_trials(TRIALS, stop_at_three, tmp_path, workers=Workers(1), label="t")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [f"trial {n}.json" for n in range(3)]
    assert len(run_trials(TRIALS, stop_at_three, tmp_path, workers=Workers(1), label="t")) == 6
    assert set(calls(tmp_path).values()) == {"x"}


def test_a_warning_names_its_trial(tmp_path):
    with pytest.warns(UserWarning) as found:
        run_trials(TRIALS[:2], warn, tmp_path, workers=Workers(1), label="test")
    assert [str(one.message) for one in found] == ["trial 0: the head swings", "trial 1: the head swings"]


def test_a_warning_of_a_trial_that_fails_is_shown(tmp_path):
    with pytest.warns(UserWarning, match="trial 0: the head swings"), pytest.raises(ZeroDivisionError):
        run_trials(TRIALS[:1], warn_and_fail, tmp_path, workers=Workers(1), label="test")


def test_warnings_are_shown_after_trials_in_several_threads():
    """As in a worker of Dask; the first trial to begin ends first."""
    second_began, first_ended = threading.Event(), threading.Event()

    def second():
        with _warnings_of("second"):
            second_began.set()
            assert first_ended.wait(10)
            warnings.warn("in the second", UserWarning, stacklevel=1)

    thread = threading.Thread(target=second)
    with pytest.warns(UserWarning) as found:
        before = warnings.showwarning
        with _warnings_of("first"):
            thread.start()
            assert second_began.wait(10)
            warnings.warn("in the first", UserWarning, stacklevel=1)
        first_ended.set()
        thread.join()
        assert warnings.showwarning is before
        warnings.warn("afterwards", UserWarning, stacklevel=1)
    assert [str(one.message) for one in found] == ["first: in the first", "in the second", "afterwards"]


def test_a_dead_worker_is_told_and_finished_trials_stay(tmp_path):
    run_trials(TRIALS[:2], square, tmp_path, workers=Workers(1), label="t")
    with pytest.raises(BenchmarkError, match="every worker must live"):
        run_trials(TRIALS, die, tmp_path, workers=Workers(2), label="t")
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_results_of_other_settings_and_damaged_ones_are_refused(tmp_path):
    run_trials(TRIALS[:1], square, tmp_path, workers=Workers(), label="t")
    with pytest.raises(BenchmarkError, match=r"`out` must hold results of the same settings; .*trial 0\.json"):
        run_trials([Trial("trial 0", {"n": 7})], square, tmp_path, workers=Workers(), label="t")
    (tmp_path / "trial 0.json").write_text('{"settings": {"n"')
    with pytest.raises(BenchmarkError, match=r"trial 0\.json must be a whole result"):
        run_trials(TRIALS[:1], square, tmp_path, workers=Workers(), label="t")


@pytest.mark.parametrize("names", [["a", "a"], ["a/b"], [""]])
def test_names_must_be_unique_names_of_files(names, tmp_path):
    with pytest.raises(ValueError, match="`trials` must have unique names"):
        run_trials([Trial(name, {"n": 1}) for name in names], square, tmp_path, workers=Workers(), label="t")


def test_the_shards_of_a_grid_are_the_grid():
    cells = list(range(11))
    parts = [Workers(shard=(k, 4)).own(cells) for k in range(1, 5)]
    assert sorted(cell for part in parts for cell in part) == cells == Workers().own(cells)
    for shard in ((0, 4), (5, 4)):
        with pytest.raises(ValueError, match="`shard` must be K N with K from 1 to N"):
            Workers(shard=shard)
    with pytest.raises(ValueError, match="`workers` must be an integer of at least 1; got 0"):
        Workers(0)


@pytest.mark.slow
def test_trials_run_on_dask(tmp_path):
    results = run_trials(TRIALS, square, tmp_path, workers=Workers(2, dask="local"), label="t")
    assert results == [{"square": n**2} for n in range(6)]
