"""A run under way, whichever engine trains it: model, scores, report set and record."""

from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any

from phasewise.checkpoints import WriteFiles
from phasewise.errors import InfeasibleRunError
from phasewise.live import LiveLog
from phasewise.methods.adapt import ModelSize, measure_weights, save_model
from phasewise.provenance import describe_environment
from phasewise.records import RunCost, RunRecord, RunStatus
from phasewise.runs import RunConfig
from phasewise.tasks.data import open_report_data
from phasewise.tasks.examples import EvalSet, Outputs, Scored
from phasewise.tasks.instruction import writes_for_search
from phasewise.tasks.predictions import PREDICTIONS_FILE, write_predictions
from phasewise.training.batching import (
    find_evaluation_steps,
    largest_micro_batch,
    weigh_classes,
)
from phasewise.training.device import describe_device, peak_memory_mb
from phasewise.training.interface import Reporter, Resumption, RunJob
from phasewise.training.ranks import RANKS_KEY
from phasewise.training.run_watch import RunWatch
from phasewise.training.saving import RunSaver
from phasewise.training.warm import WarmParts

#: Files in a run's folder, beside the record.
MODEL_FOLDER = "model"

#: Called with a run's configuration, an evaluation set, its model and whether it writes responses.
Predict = Callable[[RunConfig, EvalSet, Any, bool], Outputs]


def find_micro_batch_size(config: RunConfig, devices: int = 1, most_rows: int | None = None) -> int:
    """Returns how many rows a forward pass takes, on all devices of the run together.

    Args:
        config: The run's.
        devices: That train it.
        most_rows: Of one device, at most, if memory has run out before.
    """
    hyperparameters = config.hyperparameters
    limit = hyperparameters.rows_at_once(config.unit_config.training.micro_batch_size)
    rows = min(limit, most_rows or limit)
    return largest_micro_batch(hyperparameters.batch_size, rows * devices)


class TrainingRun:
    """A run under way; filled step by step, so that a failed one tells how far it came.

    Args:
        job: The run.
        warm: What stays loaded between runs.
        report: Receives every evaluation; its answer is obeyed.
        saver: Saves it on its way, and knows what it goes on from.
        predict: Puts an evaluation set through the model; None: the model by itself.
        micro_batch_size: Rows of a forward pass, on all devices of the run together.
        reported_until: Step up to which an earlier attempt has been reported already.

    Attributes:
        started: When it first began.
        seconds_before: What earlier processes have spent for it.
        watch: Takes note of its steps and scores.
        data: What it trains on and is scored with.
        class_weights: Weight of a row's loss by its class; None: all 1.
        train_eval: The part of its train sample that is scored at its end.
        model: Its own; None before it is built and once nobody needs it.
        ranks: The processes that train it, this one among them.
        collect_state: Returns all weights, on the CPU, where each rank holds a part of them; all
            ranks call it.
    """

    def __init__(
        self,
        job: RunJob,
        warm: WarmParts,
        report: Reporter,
        *,
        saver: RunSaver,
        micro_batch_size: int,
        predict: Predict | None = None,
        reported_until: int = 0,
    ) -> None:
        self.job, self.micro_batch_size, self.ranks = job, micro_batch_size, warm.ranks
        self.status: RunStatus = "finished"
        self.message = ""
        self.train_tokens, self.train_seconds = 0, 0.0
        self.started, self.seconds_before = datetime.now(UTC), 0.0
        self.saver = saver
        self._peak_before: float = 0.0
        self._warm, self._predict = warm, predict or warm.predict
        self._report_scores: Scored | None = None
        self.data, self.train_eval = warm.data(job.config)
        chosen = job.config.hyperparameters.class_weights
        self.class_weights = weigh_classes(self.data.train, chosen)
        self.model: Any = None
        self.collect_state: Callable[[], dict[str, Any]] | None = None
        self._size: ModelSize | None = None
        steps = find_evaluation_steps(
            rows=len(self.data.train),
            batch_size=job.config.hyperparameters.batch_size,
            epochs=job.config.hyperparameters.epochs,
            per_epoch=job.config.unit_config.training.evaluations_per_epoch,
        )
        self.watch = RunWatch(
            run=job.config.name,
            steps=steps,
            report=report,
            live=LiveLog(job.folder, job.config, max(steps)) if warm.ranks.writes else None,
            reported_until=reported_until,
        )
        self._take_up(report)

    def _take_up(self, report: Reporter) -> None:
        """Restores what the checkpoint knows beside the tensors, and tells that it goes on."""
        found, name = self.saver.found, self.job.config.name
        if found is not None:
            state = found.state["run"]
            self.train_tokens, self.train_seconds = state["tokens"], state["train_seconds"]
            self.started = datetime.fromisoformat(state["started"])
            self.seconds_before, self._peak_before = state["seconds"], state["peak_memory_mb"] or 0
            self.watch.restore(state["watch"])
            report(Resumption(name, found.step, tuple(self.watch.evaluations), self.saver.notes))
        elif self.saver.notes:
            report(Resumption(name, 0, notes=self.saver.notes))

    def save(self, step: int, seconds: float, state: dict[str, Any], write: WriteFiles) -> None:
        """Saves the run as it is.

        Args:
            step: Optimizer steps done.
            seconds: Spent for this run by this process.
            state: What else is no tensor; JSON.
            write: Writes the tensors.
        """
        run = {
            "watch": self.watch.describe(),
            "tokens": int(self.train_tokens),
            "train_seconds": self.train_seconds,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": self.seconds_before + seconds,
            "peak_memory_mb": self._peak_mb(),
        }
        self.saver.save(step, {**state, "run": run}, write)

    def build_model(self) -> None:
        """Makes the model, as the run's seeds say.

        Raises:
            RuntimeError: Memory does not suffice; or a MemoryError.
        """
        self.model = self._warm.build_model(self.job.config)
        self._size = measure_weights(list(self.model.parameters()))

    def evaluate(self, step: int, epoch: float) -> None:
        """Scores the model after a step that is due, and notes whether the run ends here.

        Args:
            step: Optimizer steps done.
            epoch: Passes over the train sample done.

        Raises:
            InfeasibleRunError: A score is not finite.
        """
        writes = writes_for_search(self.job.config.unit_config.task)
        search = self._score(self.data.search, writes=writes)
        train = self._score(self.train_eval) if step == self.watch.last_step else None
        self.watch.take_scores(step, epoch, search, train)
        if self.watch.pruned:
            self.status, self.message = "pruned", f"stopped by the pruner after step {step}"

    def finish(self) -> None:
        """Opens the report set and saves the model, as the run's settings say.

        Raises:
            ControllerGoneError: The run's files are another controller's.
        """
        self.job.require_lease()
        if self.job.config.opens_report_set:
            try:
                self._report_scores = self._score_report()
            except InfeasibleRunError as error:
                self.status, self.message = "diverged", str(error)
                return
        if self.job.config.keeps_model:
            state = self.collect_state() if self.collect_state else None
            if self._warm.ranks.writes:
                save_model(self.model, self.job.folder / MODEL_FOLDER, state)

    def describe(self, engine: str, seconds: float) -> RunRecord:
        """Returns the record; the run ends now.

        Args:
            engine: What trained it.
            seconds: Spent for this run by this process.
        """
        scored, report = self.watch.last_scored, self._report_scores
        if self.status not in ("finished", "pruned"):
            scored = None
        return RunRecord(
            config=self.job.config,
            hash=self.job.config.hash,
            status=self.status,
            message=self.message,
            evaluations=tuple(self.watch.evaluations),
            train_points=tuple(self.watch.train_points),
            search_metrics=scored.metrics if scored else {},
            search_rows=len(scored.predictions) if scored else 0,
            threshold=scored.threshold if scored else None,
            report_metrics=report.metrics if report else {},
            report_rows=len(report.predictions) if report else 0,
            cost=self._measure_cost(self.seconds_before + seconds),
            environment={
                **describe_environment(),
                "device": describe_device(self._warm.device),
                "engine": engine,
                **({RANKS_KEY: divided} if (divided := self._warm.ranks.describe()) else {}),
            },
            started=self.started.isoformat(timespec="seconds"),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _score_report(self) -> Scored:
        config, last = self.job.config, self.watch.last_scored
        assert last is not None
        report_set = open_report_data(
            config.unit_config.data,
            self._warm.tokenizer(config.unit_config),
            ledger=self.job.ledger if self._warm.ranks.writes else None,
            run_label=config.label,
            reason=f"final score of a {config.phase} run",
            role=config.role,
        )
        scored = self._score(report_set, last.threshold, writes=True)
        if self._warm.ranks.writes:
            write_predictions(self.job.folder / PREDICTIONS_FILE, scored.predictions)
        return scored

    def _score(
        self, eval_set: EvalSet, threshold: float | None = None, *, writes: bool = False
    ) -> Scored:
        config = self.job.config
        outputs = self._predict(config, eval_set, self.model, writes)
        return self.data.kind.score(config.unit_config.task, eval_set, outputs, threshold)

    def _measure_cost(self, seconds: float) -> RunCost | None:
        if self._size is None:
            return None
        return RunCost(
            train_seconds=self.train_seconds,
            total_seconds=seconds,
            peak_memory_mb=self._peak_mb(),
            train_tokens=self.train_tokens,
            trainable_parameters=self._size.trainable_parameters,
            total_parameters=self._size.total_parameters,
            adapter_bytes=self._size.trainable_bytes,
            micro_batch_size=ceil(self.micro_batch_size / self._warm.ranks.devices),
        )

    def _peak_mb(self) -> float:
        return max(peak_memory_mb(self._warm.device), self._peak_before)
