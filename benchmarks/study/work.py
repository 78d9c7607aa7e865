"""Does the work of a plan: chooses learning rates, trains, has every run measured as soon as it is done.

Trainings are processes of their own, started by threads, as many at a time as asked for; so is what a learning rate is
chosen by. This process measures, in its main thread, which signals can stop, and a run keeps its share of the processor
until it is measured. No other thread makes or runs a model: weights are drawn from a generator that all threads share.
What is there is not done again: a run with its last milestone is complete, and one that was killed goes on from its
newest checkpoint. A row that fails leaves the others alone.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.study.plan import POINTS, Plan, Training, kept
from benchmarks.study.rows import Row, units
from benchmarks.study.validation import validation_error
from dbae.support.errors import DivergedError, UserError
from dbae.support.files import atomic_path
from dbae.support.progress import progress_bar

log = logging.getLogger(__name__)
Measure = Callable[[Training], None]


class Worker:
    """A plan being worked off.

    Args:
        measure: called with every training that is complete, from the thread that calls `run`.
        jobs: runs at a time.
    """

    def __init__(self, plan: Plan, measure: Measure, jobs: int) -> None:
        self.plan, self.measure, self.jobs = plan, measure, jobs
        self.first: dict[str, Future[Training]] = {}
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopping = threading.Event()
        self.free = threading.Semaphore(jobs)
        self.validating, self.again = threading.Lock(), threading.Lock()

    def run(self) -> dict[str, str]:
        """All of it; what failed: name of the run -> why. SIGTERM and Ctrl-C end trainings, which save."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return self._run()
        finally:
            signal.signal(signal.SIGTERM, before)

    def _run(self) -> dict[str, str]:
        self.plan.count_operations()  # which runs models, and is kept for the threads
        failed: dict[str, str] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            tasks = {}
            for row, seed in self.plan.all():
                task = pool.submit(self._task, row, seed)
                tasks[task] = row.run(seed)
                self.first.setdefault(row.key, task)
            try:
                with progress_bar(len(tasks), "study", unit="runs") as bar:
                    for task in as_completed(tasks):
                        if error := task.exception() or self._measured(task.result()):
                            failed[tasks[task]] = str(error)
                            log.warning("%s: failed: %s", tasks[task], error)
                        bar.update(1)
            except BaseException:
                self.stop()
                self.free.release(len(tasks))  # those that wait for their turn see that it is over
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return failed

    def _measured(self, training: Training) -> Exception | None:
        """Measure it and give its share to the next; what went wrong."""
        try:
            if training.row.key not in self.plan.halves:
                self.measure(training)
        except Exception as error:  # whatever it is, other rows can be measured
            return error
        finally:
            self.free.release()
        return None

    def stop(self) -> None:
        """End the trainings."""
        self.stopping.set()
        for process in list(self.running):
            process.terminate()

    def _task(self, row: Row, seed: int) -> Training:
        base = self.first[row.builds_on].result() if row.builds_on else None
        first = None if seed == self.plan.scale.seeds[0] else self.first[row.key].result()
        self.free.acquire()
        try:
            base = self._frozen(row, base)
            rate = self._chosen(row, seed, base) if first is None else first.rate
            training = self.plan.training(row, seed, rate, base)
            if row.key in self.plan.halves:
                return self._half(training)
            if not training.checkpoint().exists():
                self._train(training, training.images)
            if not training.checkpoint().exists():
                raise UserError(
                    f"{training.folder.path}: expected a run that ends after {training.images} images, found one that "
                    "was trained further. Name as many --units as it had or more, or another --runs and --out."
                )
        except BaseException:
            self.free.release()
            raise
        return training

    def _frozen(self, row: Row, base: Training | None) -> Training | None:
        """The run whose network the row builds on."""
        if base is None or row.free:
            return base
        with self.again:
            return self._half(base)

    def _half(self, training: Training) -> Training:
        """The run with the weights that rows pay for which build on it.

        One that went on from a smaller study may have been past them by then. They are trained once more, in `frozen`.
        """
        half, parts = training.images // 2, POINTS // 2
        past = any(path >= training.folder.checkpoint(half) for path in training.folder.checkpoints())
        if past and not training.checkpoint(parts).exists():
            training = dataclasses.replace(training, runs=training.runs / "frozen")
        if not training.checkpoint(parts).exists():
            self._train(training, half)
        return training

    def _chosen(self, row: Row, seed: int, base: Training | None) -> float:
        """The rate with the least validation error after a tenth of the images; kept in a file beside the runs.

        One with which training diverges has an infinite error.
        """
        rates = self.plan.rates(row)
        if len(rates) == 1:
            return rates[0]
        any_rate = self.plan.training(row, seed, rates[0], base)
        images, errors = any_rate.first_images, any_rate.errors()
        for rate in rates:
            if f"{rate:g}" not in errors:
                training = _trial(self.plan.training(row, seed, rate, base))
                errors[f"{rate:g}"] = self._error(training, images)
                with atomic_path(any_rate.errors_file) as temporary:
                    temporary.write_text(json.dumps(errors, indent=1))
        best = min(rates, key=lambda rate: errors[f"{rate:g}"])
        if not math.isfinite(errors[f"{best:g}"]):
            raise DivergedError(f"training diverges at every learning rate of {list(rates)}: name smaller --rates")
        log.info("%s: learning rate %g (validation error after a tenth: %s)", row.key, best, errors)
        return best

    def _error(self, training: Training, images: int) -> float:
        try:
            self._train(training, images)
        except DivergedError as error:
            log.warning("%s", error)
            return math.inf
        with self.validating:
            found = validated(training, training.folder.checkpoint(images))
        return found if math.isfinite(found) else math.inf

    def _train(self, training: Training, images: int) -> None:
        """Run the command up to so many images; its output goes to train.log in the folder of the run."""
        if self.stopping.is_set():
            raise UserError("stopped; the same command goes on from here")
        folder = training.folder.path
        folder.mkdir(parents=True, exist_ok=True)
        share = images * units(training.row, training.scale.preset)
        log.info("%s, learning rate %g: %d images, %.0f units", training.name, training.rate, images, share)
        with open(folder / "train.log", "ab") as output:
            command = [sys.executable, *training.command(images)]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self._environment())
            self.running.add(process)
            status = process.wait()
            self.running.discard(process)
        if self.stopping.is_set():
            raise UserError("stopped; the same command goes on from here")
        if status:
            last = (folder / "train.log").read_text(errors="replace").strip().splitlines()[-1:]
            kind = DivergedError if status == DivergedError.status else UserError
            raise kind(f"{folder}: training ended with status {status}: {''.join(last)}")

    def _environment(self) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        return {"OMP_NUM_THREADS": str(threads), **os.environ}


def validated(training: Training, checkpoint: Path) -> float:
    """`validation_error`, by a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(validation_error, training, checkpoint).result()


def _trial(training: Training) -> Training:
    """The run itself, which goes on if its rate is chosen; where it is past the trial's end, one in `trials`."""
    end, there = training.folder.checkpoint(training.first_images), training.folder.checkpoints()
    past = end not in there and any(path > end for path in there)
    return dataclasses.replace(training, runs=training.runs / "trials") if past else training


def require_same_study(plan: Plan, fingerprint: str) -> None:
    """Note in the folder of the runs what they are trained on and how.

    Raises:
        UserError: it holds the runs of another study.
    """
    path, about = plan.runs / "study.json", plan.study(fingerprint)
    found = kept(path) if path.exists() else about
    if found != about:
        other = ", ".join(name for name in about if found.get(name) != about[name])
        raise UserError(
            f"{plan.runs}: expected runs of this study, found those of one with other {other}. Name another --runs and "
            "--out."
        )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(about, indent=1))
