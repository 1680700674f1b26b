"""A sweep: draw settings, train, tell the loss, and begin again; resumable after any end."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from service.errors import SettingsError
from service.registry.publication import check_bounds, publish_folder
from service.settings import Settings
from service.studies.point import lineage_of, run_point
from service.studies.study import PointEvent, StudyReport, refuse_unfit
from service.studies.sweep.report import write_report
from service.studies.sweep.space import Sweep
from service.training.spec import TrainingSpec
from training.errors import DivergedError, Stopped
from training.events import EvalEvent, Event, Listener

STORAGE: Final = "study.db"
BEST: Final = "best"
_ERROR: Final = "error"
_FOLDER: Final = "folder"
_ASKED: Final = "asked"


class Pruner:
    """Tells a trial's held-out losses to optuna, and whether it is given up."""

    def __init__(self, trial: optuna.Trial, listen: Listener, should_stop: Callable[[], bool]) -> None:
        self._trial = trial
        self._listen = listen
        self._should_stop = should_stop
        self.pruned = False

    def listen(self, event: Event) -> None:
        """Hears the run's events."""
        self._listen(event)
        if isinstance(event, EvalEvent) and event.step > 0:
            self._trial.report(event.valid_loss, event.step)
            self.pruned = self._trial.should_prune()

    def should_stop(self) -> bool:
        """Asked after every step."""
        return self.pruned or self._should_stop()


@dataclass(frozen=True)
class SweepStudy:
    """One run for each trial; the one of the lowest held-out loss is published."""

    sweep: Sweep

    def run(
        self,
        spec: TrainingSpec,
        settings: Settings,
        listen: Listener,
        report: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> StudyReport:
        """See `Study`."""
        refuse_unfit(spec)
        if spec.name is not None:
            check_bounds(spec.name, self._largest_rank(spec), spec.base_model, settings)
        if spec.overwrite:
            shutil.rmtree(spec.output, ignore_errors=True)
        spec.output.mkdir(parents=True, exist_ok=True)
        study = self._open(spec)
        _requeue(study)
        while (number := _num_done(study)) < self.sweep.trials:
            trial = study.ask(self.sweep.distributions())
            listen(PointEvent(label=describe(trial.params), number=number + 1, total=self.sweep.trials))
            self._try(study, trial, spec, settings, listen, report, should_stop)
        return self._finish(study, spec, settings)

    def _open(self, spec: TrainingSpec) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruning = self.sweep.pruning
        storage = f"sqlite:///{spec.output.absolute() / STORAGE}"
        study = optuna.create_study(storage=storage, study_name="sweep", direction="minimize", load_if_exists=True)
        # Another seed for each start: the same one would draw again what was drawn before the end.
        seed = (self.sweep.seed + len(study.trials)) % 2**32
        study.sampler = (
            optuna.samplers.TPESampler(seed=seed)
            if self.sweep.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        study.pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=pruning.startup_trials, n_warmup_steps=pruning.warmup_steps)
            if pruning.enabled
            else optuna.pruners.NopPruner()
        )
        asked = self.sweep.model_dump(mode="json", include={"space"})
        if study.user_attrs.get(_ASKED, asked) != asked:
            raise SettingsError(
                f"--output {spec.output} holds a sweep of another space; add --overwrite or name another --output"
            )
        study.set_user_attr(_ASKED, asked)
        return study

    def _try(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        spec: TrainingSpec,
        settings: Settings,
        listen: Listener,
        report: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        folder = trial_folder(spec.output, trial.params)
        trial.set_user_attr(_FOLDER, folder.name)
        config = spec.config.model_validate({**spec.config.model_dump(), **trial.params})
        # Named by its settings: a trial that was cut short goes on from its checkpoint, one drawn twice is done.
        run = spec.model_copy(
            update={"config": config, "output": folder, "name": None, "resume": True, "overwrite": False}
        )
        pruner = Pruner(trial, listen, should_stop)
        label = f"trial {trial.number}"
        try:
            point = run_point(label, run, settings, pruner.listen, report, pruner.should_stop)
        except DivergedError as error:
            trial.set_user_attr(_ERROR, str(error))
            study.tell(trial, state=TrialState.FAIL)
            report(f"{label} diverged: {error}")
        except Stopped:
            if not pruner.pruned or should_stop():
                # Still running to optuna: the next start puts it in the queue again.
                raise
            study.tell(trial, state=TrialState.PRUNED)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            report(f"{label} was given up: half of the others did better by then")
        else:
            trial.set_user_attr("base_valid_loss", point.result["base_valid_loss"])
            study.tell(trial, float(point.result["valid_loss"]))

    def _finish(self, study: optuna.Study, spec: TrainingSpec, settings: Settings) -> StudyReport:
        done = [trial for trial in study.trials if _is_done(trial)]
        finished = [trial for trial in done if trial.state == TrialState.COMPLETE]
        best = min(finished, key=lambda trial: trial.values[0], default=None)
        version = None
        if best is not None:
            folder = trial_folder(spec.output, best.params)
            _link(spec.output / BEST, folder)
            if spec.name is not None:
                lineage = {"sweep_trials": len(done), **lineage_of(folder)}
                version = publish_folder(spec.name, spec.tenant, folder, spec.base_model, settings, lineage)
        return write_report(spec.output, done, best, None if version is None else str(version.reference))

    def _largest_rank(self, spec: TrainingSpec) -> int:
        """As published: PiSSA and OLoRA publish twice the rank that they train."""
        space = self.sweep.space
        tried = {name: space[name].extremes for name in ("rank", "init") if name in space}
        mixes: list[dict[str, Any]] = [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]
        return int(max(spec.config.model_copy(update=mix).published_rank for mix in mixes))


def trial_folder(output: Path, params: dict[str, Any]) -> Path:
    """Where the run of these settings is."""
    text = json.dumps(params, sort_keys=True).encode()
    return output / "trials" / hashlib.sha256(text).hexdigest()[:12]


def describe(params: dict[str, Any]) -> str:
    """Settings as one line for people."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def _requeue(study: optuna.Study) -> None:
    """Trials that a kill or a stop left running are drawn again, with the settings they had."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params, skip_if_exists=False)
        study.tell(trial.number, state=TrialState.FAIL)


def _num_done(study: optuna.Study) -> int:
    return sum(_is_done(trial) for trial in study.trials)


def _is_done(trial: FrozenTrial) -> bool:
    """Whether it counts; a trial that failed without an error of its own was cut short, and is tried again."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended or (trial.state == TrialState.FAIL and _ERROR in trial.user_attrs)


def _link(link: Path, target: Path) -> None:
    staged = link.with_name(f".{link.name}")
    staged.unlink(missing_ok=True)
    staged.symlink_to(os.path.relpath(target, link.parent))
    os.replace(staged, link)
