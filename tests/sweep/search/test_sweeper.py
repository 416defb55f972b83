"""The search against a launcher that knows the answers: it finds, counts, goes on, gives up."""

import math

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from segexp.errors import InputError
from segexp.sweep.search.pruning import open_pruning
from segexp.sweep.search.space import split_space
from segexp.sweep.search.study import make_pruner, make_sampler, open_study
from segexp.sweep.search.sweeper import Plan, best_trial, check_same, search


class Returned:
    def __init__(self, value):
        self.value = value

    @property
    def return_value(self):
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


class Bench:
    """A launcher: `score` of the overrides as a dict; remembers the batches and numbers that it was given."""

    def __init__(self, score):
        self.score, self.batches = score, []

    def __call__(self, overrides, first):
        self.batches.append((first, overrides))
        return [self.one(first + index, words) for index, words in enumerate(overrides)]

    def one(self, number, words):
        value = self.score(dict(word.split("=", 1) for word in words))
        return Returned(value)


def hill(values):
    """Highest, at 1, where lr is 0.003 and kind is b."""
    return 1 - abs(math.log10(float(values["lr"]) / 0.003)) - 0.5 * (values["kind"] != "b")


def open_search(folder, seed=0, sampler="tpe", pruner="none", startup=5):
    chosen = make_sampler(sampler, seed, startup)
    return open_study(str(folder / "search.journal"), chosen, make_pruner(pruner, 10, 3, startup))


def plan(jobs, at_once=1, words=("task=vesicle", "lr=tag(log,interval(1e-5,1))", "kind=a,b,c")):
    fixed, space = split_space(OverridesParser.create().parse_overrides(list(words)))
    return Plan(fixed, space, jobs, at_once)


def fine(batch):
    return None


def test_guesses_beat_chance_on_a_hill(tmp_path):
    best = {}
    for sampler in ("tpe", "random"):
        best[sampler] = []
        for seed in range(3):
            study = open_search(tmp_path / f"{sampler}{seed}", seed, sampler)
            search(study, plan(25), Bench(hill), fine)
            best[sampler].append(best_trial(study).value)
    assert sum(best["tpe"]) > sum(best["random"]) + 0.2, best


def test_jobs_are_numbered_like_their_trials_and_batches_are_no_larger_than_asked(tmp_path):
    bench = Bench(hill)
    returned = search(open_search(tmp_path), plan(7, 3), bench, fine)
    assert [(first, len(words)) for first, words in bench.batches] == [(0, 3), (3, 3), (6, 1)]
    assert len(returned) == 7
    assert all(words[0] == "task=vesicle" for _, batch in bench.batches for words in batch)
    at_once = [words for _, batch in bench.batches for words in batch]
    assert len({tuple(words) for words in at_once}) == 7


def test_a_search_that_was_ended_goes_on(tmp_path):
    class Ended(Exception):
        pass

    def ends(values):
        if len(bench.batches) == 3:
            raise Ended
        return hill(values)

    bench = Bench(ends)
    with pytest.raises(Ended):
        search(open_search(tmp_path), plan(8, 2), bench, fine)
    unfinished = bench.batches[2]
    again = Bench(hill)
    study = open_search(tmp_path, seed=7)
    search(study, plan(8, 2), again, fine)
    assert again.batches[0] == unfinished  # number and settings, to the letter
    assert [first for first, _ in again.batches] == [4, 6]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    idle = Bench(hill)
    assert search(open_search(tmp_path), plan(8, 2), idle, fine) == []
    search(open_search(tmp_path), plan(9, 2), idle, fine)  # more of the same may be asked for later
    assert [first for first, _ in idle.batches] == [8]


def test_other_ranges_in_the_same_folder_are_refused(tmp_path):
    check_same(open_search(tmp_path), plan(1))
    check_same(open_search(tmp_path), plan(2))  # more jobs of the same
    with pytest.raises(InputError, match="kind: the search in this folder was started with other ranges"):
        check_same(open_search(tmp_path), plan(2, words=["task=vesicle", "lr=tag(log,interval(1e-5,1))", "kind=a,b"]))


RANGE = "lr=interval(0,1)"


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    words = ["task=vesicle", "data.root=a", "trainer.epochs=2", "output_dir=o", RANGE]
    check_same(open_search(tmp_path), plan(1, words=words))
    check_same(open_search(tmp_path), plan(2, words=[*words[2::-1], "output_dir=p", "sweep.retry=true", RANGE]))
    changes = {
        "data.root=b": r"data\.root \(was a, is b\)",
        "seed=3": r"seed \(was not given, is 3\)",
    }
    for word, words_said in changes.items():
        with pytest.raises(
            InputError, match=f"{words_said}: the search in this folder was started with other settings"
        ):
            check_same(open_search(tmp_path), plan(2, words=[*words, word]))
    check_same(open_search(tmp_path), plan(2, words=words))  # what was refused has changed nothing


def test_a_study_of_before_gets_the_settings_of_the_command_that_resumes_it(tmp_path):
    first = plan(1, words=["task=vesicle", "data.root=a", RANGE])
    open_search(tmp_path).set_user_attr("space", {key: str(value) for key, value in first.space.items()})
    check_same(open_search(tmp_path), first)
    with pytest.raises(InputError, match=r"data\.root"):
        check_same(open_search(tmp_path), plan(1, words=["task=vesicle", "data.root=b", RANGE]))


def test_failed_jobs_count_and_are_never_the_best(tmp_path):
    outcomes = iter([float("nan"), RuntimeError("crash"), 0.2, None, 0.4])
    study = open_search(tmp_path)
    search(study, plan(5), Bench(lambda values: next(outcomes)), fine)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert best_trial(study).number == 4


def test_a_search_whose_first_jobs_all_fail_ends(tmp_path, capsys):
    bench = Bench(lambda values: float("nan"))
    search(open_search(tmp_path), plan(20), bench, fine)
    assert len(bench.batches) == 3
    assert "first 3 jobs all failed" in capsys.readouterr().out


def test_jobs_are_checked_before_they_run(tmp_path):
    def refuse(batch):
        raise InputError("no such key")

    bench = Bench(hill)
    with pytest.raises(InputError, match="no such key"):
        search(open_search(tmp_path), plan(2), bench, refuse)
    assert bench.batches == []


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_hopeless_jobs_end_early_and_the_best_does_not(tmp_path, pruner):
    """Each job's curve rises to its height; what is compared is the score at equal shares of the budget."""
    used = {}

    class Trained(Bench):
        def one(self, number, words):
            should_prune = open_pruning(str(tmp_path / "search.journal"), make_pruner(pruner, 10, 3, 5), number)
            height = hill(dict(word.split("=", 1) for word in words))
            for done in range(1, 11):
                used[number] = done
                if done < 10 and should_prune(done / 10 + 0.003, height * done / 10):
                    break
            return Returned(height * done / 10)

    study = open_search(tmp_path, sampler="random", pruner=pruner)
    search(study, plan(25), Trained(hill), fine)
    pruned = [trial.number for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert pruned == sorted(number for number, done in used.items() if done < 10)
    assert sum(used.values()) < 0.75 * 250
    heights = {trial.number: hill(trial.params) for trial in study.trials}
    best = max(heights, key=heights.get)
    assert best_trial(study).number == best
    assert max(heights[number] for number in pruned) < heights[best]


def test_a_verdict_waits_for_its_first_percent_and_fills_the_marks_passed(tmp_path):
    study = open_search(tmp_path, pruner="halving")
    for height in (0.9, 0.1):
        trial = study.ask(plan(1).space)
        should_prune = open_pruning(str(tmp_path / "search.journal"), make_pruner("halving", 30, 3, 5), trial.number)
        assert not should_prune(0.29, height)
        assert should_prune(0.47, height) == (height == 0.1)
        assert study.trials[trial.number].intermediate_values == dict.fromkeys(
            (5, 10, 15, 20, 25, 30, 35, 40, 45), height
        )
    assert "pruned" in study.trials[1].user_attrs


def test_a_trial_that_is_told_or_unknown_has_no_verdict(tmp_path):
    study = open_search(tmp_path)
    study.tell(study.ask(), 0.5)
    assert open_pruning(str(tmp_path / "search.journal"), optuna.pruners.NopPruner(), 0) is None
    assert open_pruning(str(tmp_path / "search.journal"), optuna.pruners.NopPruner(), 5) is None


def test_sqlite_holds_a_search_too(tmp_path):
    address = f"sqlite:///{tmp_path / 'search.db'}"
    for total in (2, 4):
        study = open_study(address, make_sampler("tpe", 0, 5), make_pruner("none", 10, 3, 5))
        bench = Bench(hill)
        search(study, plan(total), bench, fine)
        assert len(bench.batches) == 2
    del study


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_sampler("grid", 0, 5), "sampler=grid: expected one of tpe, random"),
        (lambda: make_pruner("axe", 10, 3, 5), "pruner=axe: expected one of none, median"),
        (lambda: make_pruner("halving", 0, 3, 5), "first=0"),
        (lambda: make_pruner("halving", 10, 1, 5), "factor=1"),
    ],
)
def test_settings_that_are_none(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_file_that_is_no_study_is_said_to_be_none(tmp_path):
    (tmp_path / "search.journal").write_text("not a journal\n")
    with pytest.raises(InputError, match="cannot be read as a study"):
        open_search(tmp_path)


def test_a_score_of_which_less_is_better_is_minimised(tmp_path):
    chosen = make_sampler("random", 0, 5)
    study = open_study(str(tmp_path / "search.journal"), chosen, make_pruner("none", 10, 3, 5), lower=True)
    outcomes = iter([0.4, 0.2, 0.3])
    search(study, plan(3), Bench(lambda values: next(outcomes)), fine)
    assert best_trial(study).number == 1
    again = open_search(tmp_path)  # as a job opens it, to report to it
    assert again.direction.name == "MINIMIZE"
