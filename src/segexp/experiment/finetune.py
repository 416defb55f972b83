"""Fine-tuning that ends with the best of three: the given model as it was, the fine-tuned one, and one from scratch.

With enough annotated images the first part of the run fine-tunes, the rest trains from scratch, and the validation
scores decide. With few images (``trainer.cross_fit``) every image is scored by models that were trained on the others,
and the best candidate is then trained on all images.

Each training has files of its own in the run folder: ``last.pth`` and the best model the fine-tuning,
``scratch_last.pth`` and ``scratch.pth`` the training from scratch, ``fold_1_trained.npz`` the first fold's predictions
and weights.
A killed run resumes from these files; a fold that was not finished starts again.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from segexp import checkpoint
from segexp.config import RunConfig
from segexp.data.dataset import Sample
from segexp.distributed import share
from segexp.errors import InputError
from segexp.evaluation import evaluate, evaluate_fully, summarize
from segexp.evaluation.images import image_values
from segexp.evaluation.operating_point import OperatingPoint, choose_operating_point
from segexp.evaluation.scoring import Scoring, pixel_sides
from segexp.experiment.build import build_mix
from segexp.experiment.candidates import (
    GIVEN,
    LEAST_SECONDS,
    LEAST_STEPS,
    SCRATCH,
    TITLES,
    TUNED,
    Candidate,
    affordable,
    choose,
    fold_images,
    kinds_to_train,
    margin_of,
)
from segexp.experiment.network import build_network, schedule_of
from segexp.experiment.results import use
from segexp.experiment.start import Started, as_it_was, read_start
from segexp.experiment.trainer import TrainingRun
from segexp.inference.predictor import Predictor
from segexp.metrics.registry import find, to_compute
from segexp.training.loop import fit
from segexp.training.schedule import Budget, Schedule
from segexp.training.state import Scores, TrainState

COMPARISON = 2 / 3
"""Share of the run's budget for comparing candidates by cross-fitting; the final training has the rest.

With two folds each training is as long as the final one. If the trainings of the folds were much shorter, they would
not show the gain of training, and the given model would be kept although the trained one is better.
"""
WEIGHTS = "weights/"
"""Beginning of the names of the weights in a fold's file."""
NEVER = 10**9
"""Epochs between validations if there are no images to validate on; the last epoch is validated nevertheless."""


@dataclass(frozen=True)
class Outcome:
    """The model that a run ends with.

    Attributes:
        content: of its file.
        best: its scores, with the ``epoch`` of its training, 0 for the given model.
        samples: what its scores are computed on.
        point: its operating point, with probabilities of `samples` if these need no new prediction; None: it is chosen
            on `samples`.
    """

    content: dict[str, Any]
    best: Scores
    samples: list[Sample]
    point: OperatingPoint | None


class Aside:
    """Listener of an additional training: passes on lines and, if `epochs`, validated epochs to the run's log."""

    def __init__(self, title: str, info: Callable[[str], None], monitor: str, epochs: bool = False):
        self.title, self.told, self.monitor, self.epochs = title, info, monitor, epochs

    def info(self, text: str) -> None:
        """A line of the loop."""
        self.told(f"{self.title}: {text}")

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """Nothing."""

    def epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """One line if the epoch was validated."""
        if self.epochs and scores is not None:
            score = scores.get(self.monitor, math.nan)
            self.info(f"epoch {state.epoch:<4} loss {loss:.4f}  {self.monitor} {score:.4f}")


@dataclass
class FineTuning:
    """The trainings of a run that starts from a model and ends with the best of its candidates.

    Attributes:
        cfg: the settings.
        training: the fine-tuning.
        start: the given model.
    """

    cfg: RunConfig
    training: TrainingRun
    start: Started

    def run(
        self,
        schedule: Schedule,
        validation_seconds: float,
        started: float,
        should_prune: Callable[[float, float], bool] | None = None,
    ) -> Outcome | None:
        """Train the candidates and choose the model that is kept.

        None: there was no other candidate, or this is not the first process.
        """
        if self.training.cross_fitted:
            return self._cross_fitted(schedule)
        part = self.cfg.trainer.scratch
        if part and not affordable(schedule.budget, part):
            self._say_too_short()
            part = 0.0
        fit(
            self.training,
            self.training.log,
            replace(schedule, budget=schedule.budget.part(1 - part)) if part else schedule,
            validation_seconds=validation_seconds,
            started=started,
            should_prune=should_prune,
        )
        scratch = None
        if part:
            scratch = self._scratch(self.training.val_samples, part, validation_seconds)
        return self._chosen_on_validation(scratch) if self.training.ranks.first else None

    def _say_too_short(self) -> None:
        self.training.log.info(
            f"no training from scratch in addition to fine-tuning: its share of the run would be less than "
            f"{LEAST_SECONDS} s or {LEAST_STEPS} steps (trainer.scratch, trainer.max_time)"
        )

    def _another(
        self, kind: str, samples: Sequence[Sample], val: list[Sample], best_path: Path, last_name: str
    ) -> tuple[TrainingRun, RunConfig]:
        """Set up the training of another candidate, with images and files of its own; returns it and its settings."""
        cfg, training, start = self.cfg, self.training, None
        if kind == SCRATCH:
            rate = {} if cfg.trainer.scratch_lr is None else {"lr": cfg.trainer.scratch_lr}
            trainer = replace(cfg.trainer, freeze=[], rates=[])
            cfg = replace(cfg, trainer=trainer, optimizer={**cfg.optimizer, **rate})
        else:
            start = replace(self.start, model=self.start.model or read_again(self.start))
        arithmetic = training.device, training.predictor.precision
        mix = build_mix(cfg.data, cfg.task, cfg.seed, training.device)
        learner, predictor, source = build_network(
            cfg, list(samples), start, arithmetic, mix, training.ranks, lambda line: None
        )
        another = replace(
            training,
            learner=learner,
            predictor=predictor,
            source=source,
            val_samples=val,
            best_path=best_path,
            last_name=last_name,
            facts=training.facts | {"run": uuid4().hex},
            on_image=lambda index, sample, labels: None,
            step_times=None,
            records=(),
            state=TrainState(),
        )
        return another, cfg

    def _scratch(
        self,
        val: list[Sample],
        part: float,
        validation_seconds: float = 0.0,
        weights: dict[str, torch.Tensor] | None = None,
    ) -> TrainingRun:
        """Train from scratch, or from these `weights`, on the training images for a share of the budget, or resume."""
        samples = self.training.source.plan.samples
        folder, log = self.training.folder, self.training.log
        another, cfg = self._another(SCRATCH, samples, val, folder / "scratch.pth", "scratch_last.pth")
        resumed = share(another.ranks, another.last_path.is_file())
        if resumed:
            another.restore()
        elif weights is not None:
            another.learner.model.load_state_dict(weights)
        another.begin(())
        schedule = schedule_of(cfg, another)
        schedule = replace(schedule, budget=schedule.budget.part(part))
        if self.training.cross_fitted:
            schedule = replace(schedule, validate_every=NEVER)
        log.info(f"training from scratch: {'resumed' if resumed else 'started'}, with {100 * part:.0f} % of the run")
        listener = Aside("from scratch", log.info, another.monitor, epochs=not self.training.cross_fitted)
        fit(another, listener, schedule, validation_seconds=validation_seconds)
        if another.ranks.first:
            another.settle_best()
        return another

    def _given(self) -> tuple[Predictor, OperatingPoint] | None:
        """The given model with its own operating point; None, with a line in the log, if it cannot be compared."""
        training = self.training
        found = as_it_was(self.start, training.predictor.model, training.classes)
        if isinstance(found, str):
            training.log.info(f"the given model as it was is not compared: {found}")
            return None
        network, content = found
        now = training.predictor
        before = Predictor(network, now.normalization, now.classes, 0.5, now.device, now.precision)
        numbers = content["threshold"], content.get("min_size", 0), content.get("temperature", 1.0)
        point = OperatingPoint(*numbers, {"chosen_on": "model", "notes": ["all as in the given model's file"]})
        use(before, point)
        return before, point

    def _scoring(self) -> Scoring:
        return replace(self.cfg.task.scoring(), monitor=self.training.monitor)

    def _chosen_on_validation(self, scratch: TrainingRun | None) -> Outcome | None:
        """The best of the candidates on the validation images."""
        training, scoring = self.training, self._scoring()
        samples, name = training.val_samples, scoring.monitor
        sides = pixel_sides(samples, None, scoring.tolerance) if to_compute(name) else None
        training.settle_best()

        def values(predictor: Predictor) -> NDArray[np.float64]:
            return image_values(evaluate(predictor, samples, scoring, None, sides), name)

        found: list[Candidate] = []
        contents: dict[str, dict[str, Any]] = {}
        given = self._given()
        if given is not None:
            found.append(Candidate(GIVEN, values(given[0])))
        trained = [(TUNED, training.best_path)] + ([] if scratch is None else [(SCRATCH, scratch.best_path)])
        if len(found) + len(trained) < 2:
            return None
        for kind, path in trained:
            contents[kind] = checkpoint.load(path)
            training.predictor.model.load_state_dict(contents[kind]["weights"])
            details = choose_operating_point(training.predictor, samples, scoring).details
            optimism = float(details.get("optimism", 0.0)) if details.get("criterion") == name else 0.0
            found.append(Candidate(kind, values(training.predictor), max(optimism, 0.0)))
        best, words, record = choose(found, name, find(name).lower, f"{len(samples)} validation images")
        training.log.info(words)
        facts = contents[TUNED] | {"start": contents[TUNED]["start"] | record}
        if best.kind != GIVEN:
            scores = contents[best.kind]["metrics"]
            content = facts | {"weights": contents[best.kind]["weights"], "metrics": scores}
            return Outcome(content, scores, samples, None)
        assert given is not None
        scores = {"epoch": 0, name: best.mean()}
        return Outcome(facts | {"weights": weights_of(given[0]), "metrics": scores}, scores, samples, given[1])

    def _cross_fitted(self, schedule: Schedule) -> Outcome | None:
        """Compare the candidates by cross-fitting, then train the best one on all annotated images."""
        training, scoring, task = self.training, self._scoring(), self.cfg.task
        if training.state.step == 0:
            training.save(improved=False)  # what a run that is killed in a fold goes on from
        everything = list(training.source.plan.samples)
        pool, folds = fold_images(everything, len(task.classes), task.normalization, self.cfg.seed)
        halves = len(pool) > len(everything)
        count = f"{len(everything)} image{'s' * (len(everything) > 1)}"
        images = f"{len(pool)} halves of {count}" if halves else f"{count} in {len(folds)} folds"
        training.log.info(f"comparing by cross-fitting: {images}, {100 * COMPARISON:.0f} % of the run")
        maps: dict[str, list[NDArray[np.float32]]] = {}
        points: dict[str, OperatingPoint] = {}
        given = self._given()
        if given is not None and training.ranks.first:
            points[GIVEN] = given[1]
            maps[GIVEN] = [given[0].probabilities(sample.load()[0]) for sample in pool]
        for kind, budget_share in self._shares(points, maps, pool, schedule, COMPARISON / len(folds)).items():
            by_image: dict[int, NDArray[np.float32]] = {}
            for number, held in enumerate(folds, 1):
                by_image |= self._fold(kind, number, pool, held, schedule.budget.part(budget_share))
            points[kind] = OperatingPoint(
                scoring.threshold or 0.5,
                scoring.min_size or 0,
                1.0,
                {"chosen_on": "settings", "notes": ["nothing is chosen on so few images"]},
            )
            if by_image:
                maps[kind] = [by_image[index] for index in range(len(pool))]
        kind, words = GIVEN, ""
        record: dict[str, Any] = {}
        scores: Scores = {}
        if training.ranks.first:
            rows = {each: self._rows(points[each], maps[each], pool, scoring) for each in maps}
            values = [Candidate(each, image_values(rows[each], scoring.monitor)) for each in maps]
            how = f"{images}, each scored by models that were trained on the others"
            margin = margin_of(everything, scoring.monitor)
            best, words, record = choose(values, scoring.monitor, find(scoring.monitor).lower, how, margin)
            kind, scores = best.kind, summarize(rows[best.kind])
        kind = share(training.ranks, kind)
        training.log.info(words)
        trained = self._train_on_all(kind, everything, schedule, count)
        if not training.ranks.first:
            return None
        if kind == TUNED:
            training.settle_best()
        if kind == GIVEN:
            assert given is not None
            content = training.facts | {"weights": weights_of(given[0])}
        else:
            content = checkpoint.load(trained.best_path) | {"run": training.facts["run"]}
        record |= {"folds": len(folds), "steps": trained.state.step}
        scores = {"epoch": trained.state.epoch, **scores}
        content |= {"start": content["start"] | record, "metrics": scores}
        point = replace(points[kind], maps=maps[kind])
        return Outcome(content, scores, pool, point)

    def _train_on_all(self, kind: str, samples: list[Sample], schedule: Schedule, count: str) -> TrainingRun:
        """Train the chosen candidate on all annotated images, whose number `count` gives, for the rest of the run.

        It continues with the weights that the first fold's training ended with, so that the time spent on that is not
        lost: its images are among those of this training, and nothing is measured on the final model.
        """
        training = self.training
        weights = self._weights_of_fold(kind)
        if kind == SCRATCH:
            return self._scratch(samples, 1 - COMPARISON, weights=weights)
        if kind == TUNED:
            if weights is not None and training.state.step == 0:
                training.learner.model.load_state_dict(weights)
            training.log.info(f"training {TITLES[kind]} on all {count}; loss and scores are now those of these images")
            fit(
                training,
                training.log,
                replace(schedule, budget=schedule.budget.part(1 - COMPARISON), validate_every=NEVER),
            )
        return training

    def _shares(
        self,
        points: dict[str, OperatingPoint],
        maps: dict[str, list[NDArray[np.float32]]],
        pool: list[Sample],
        schedule: Schedule,
        part: float,
    ) -> dict[str, float]:
        """Which candidates are trained on the folds, and the share of the run for each such training."""
        scratch, known = self.cfg.trainer.scratch, float("nan")
        if not scratch:
            return {TUNED: part}
        if GIVEN in maps:
            rows = self._rows(points[GIVEN], maps[GIVEN], pool, replace(self._scoring(), monitor="dice"))
            known = summarize(rows)["dice"]
        known = share(self.training.ranks, known)
        kinds = kinds_to_train(known, affordable(schedule.budget, part * scratch))
        if kinds == (SCRATCH,):
            self.training.log.info(
                f"the given model does not know these objects (Dice {known:.4f}), and there is time for one training "
                "only: from scratch in place of fine-tuning (a larger trainer.max_time tries both)"
            )
        elif len(kinds) == 1:
            self._say_too_short()
        parts = (1 - scratch, scratch) if len(kinds) > 1 else (1.0,)
        return {kind: part * own for kind, own in zip(kinds, parts, strict=True)}

    def _fold(
        self, kind: str, number: int, pool: Sequence[Sample], held: Sequence[int], budget: Budget
    ) -> dict[int, NDArray[np.float32]]:
        """Predict a fold's images with a candidate trained on the other images; empty except in the first process.

        `budget` is a part of the run's own, so that an epoch has as many steps as one over all images.
        """
        ranks, name = self.training.ranks, f"fold_{number}_{kind}.npz"
        key = self._fold_key(pool, held, budget)
        kept = read_maps(self.training.folder / name, key, held) if ranks.first else None
        if share(ranks, kept is not None):
            return kept or {}
        others = [sample for index, sample in enumerate(pool) if index not in held]
        densest = max(pool, key=lambda sample: sample.class_pixels[1:].sum())  # the loop validates its last epoch
        with tempfile.TemporaryDirectory() as own:
            place = Path(share(ranks, own))
            another, cfg = self._another(kind, others, [densest], place / "best.pth", "last.pth")
            schedule = replace(schedule_of(cfg, another), budget=budget, validate_every=NEVER)
            fit(another, Aside(f"fold {number}", another.log.info, another.monitor), schedule)
            if ranks.first:
                kept = {index: another.predictor.probabilities(pool[index].load()[0]) for index in held}
                with self.training.files.create(name) as file:
                    named: dict[str, Any] = {f"image_{index}": each for index, each in kept.items()}
                    if number == 1:
                        own_weights = weights_of(another.predictor)
                        named |= {f"{WEIGHTS}{name}": tensor.numpy() for name, tensor in own_weights.items()}
                    np.savez(file, key=np.array(key), **named)
        return kept or {}

    def _fold_key(self, pool: Sequence[Sample], held: Sequence[int], budget: Budget) -> str:
        """A text that differs if anything differs that the predictions of a fold depend on."""
        cfg, images = self.cfg, [sample.digest or sample.name for sample in pool]
        rates = self.training.learner.lr, cfg.trainer.scratch_lr
        parts = (cfg.seed, cfg.task, cfg.loss, cfg.augment, cfg.optimizer, cfg.scheduler, images, list(held))
        return f"{budget} {rates} {' '.join(map(str, parts))}"

    def _weights_of_fold(self, kind: str) -> dict[str, torch.Tensor] | None:
        """The weights that a candidate's training in the first fold ended with, in every process."""
        weights, path = None, self.training.folder / f"fold_1_{kind}.npz"
        if self.training.ranks.first and path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                names = [name for name in stored.files if name.startswith(WEIGHTS)]
                weights = {name.removeprefix(WEIGHTS): torch.from_numpy(stored[name]) for name in names} or None
        return share(self.training.ranks, weights)

    def _rows(
        self, point: OperatingPoint, maps: Sequence[NDArray[np.float32]], pool: list[Sample], scoring: Scoring
    ) -> list[Any]:
        """Rows of scores of the images, from probabilities that were predicted before."""
        use(self.training.predictor, point)
        families = tuple(dict.fromkeys(["overlap", *to_compute(scoring.monitor)]))
        return evaluate_fully(
            self.training.predictor,
            pool,
            families,
            scoring.tolerance,
            probabilities=lambda index, _: maps[index],
            split=scoring.split,
        ).rows


def keep(training: TrainingRun, outcome: Outcome) -> None:
    """Write the final model of a run; the fine-tuned one stays in ``last.pth``, from which the run can resume."""
    if training.best_path.is_file() and training.last_path.is_file():
        last = checkpoint.load(training.last_path)
        if last["state"]["best"]:
            checkpoint.save(training.last_path, last | {"best_model": checkpoint.load(training.best_path)})
    checkpoint.save(training.best_path, outcome.content)


def weights_of(predictor: Predictor) -> dict[str, Any]:
    """The weights of its model, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in predictor.model.state_dict().items()}


def read_again(start: Started) -> Any:
    """The given model's file, which a resumed run has not read.

    Raises:
        InputError: if it is missing or holds another model.
    """
    path = Path(start.facts["file"])
    found = read_start(start.facts["weights"], path) if path.is_file() else None
    if found is None or found.sha256 != start.facts["sha256"]:
        raise InputError(
            f"{path}: is missing or was changed, and the run still has to compare it; restore the file whose "
            f"SHA-256 is {start.facts['sha256'][:12]}"
        )
    return found


def read_maps(path: Path, key: str, images: Sequence[int]) -> dict[int, NDArray[np.float32]] | None:
    """Probabilities that a fold saved, by the number of the image; None if there are none with this `key`."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["key"]) != key:
            return None
        return {index: stored[f"image_{index}"] for index in images}
