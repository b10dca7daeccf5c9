"""Calibration: whether probabilities are what they say, and temperature scaling where that helps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import ttest_1samp

from phototransfer.console import plural
from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.folds import Folds, are_uneven
from phototransfer.finding import BORDERLINE, CANNOT_TELL, FOUND, NOTHING_FOUND
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, wilson
from phototransfer.style import BLUE, GREY, ORANGE

if TYPE_CHECKING:  # importing it imports TensorFlow
    import keras

_MAX_BINS, _MIN_PHOTOS_PER_BIN = 10, 20
_DRAWS = 999  # of heads that are perfectly calibrated
_ALPHA = 0.05
_CLEAR_ALPHA, _BORDERLINE_ALPHA = 0.01, 0.10
#: An error of the probabilities, above that of a perfectly calibrated head, that changes how they are read.
_MATERIAL = 0.03
#: If a perfectly calibrated head can show this error on as many photos, a material one could be missed.
_NOISY = 2 * _MATERIAL
#: The temperature is decided by the mistakes: without any, the best one is 0, which makes every probability 1.
_MIN_MISTAKES = 10
_LIMITS = (0.2, 5.0)  # of the temperature
_TINY = 1e-38  # float32 probabilities below it are 0, whose logarithm is not finite


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities of the predicted classes, float (n,), and whether these are correct, bool (n,).

    Notes
    -----
    M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015, for the expected calibration error; bins of equal count as in K. Nguyen and B. O'Connor, "Posterior
    calibration and exploratory analysis for natural language processing models", EMNLP 2015. It is above 0 even for
    perfect probabilities: J. Bröcker and L. A. Smith, "Increasing the reliability of reliability diagrams", Weather
    and Forecasting 22 (2007), simulate how much, as `expected_errors`.
    """

    probability: np.ndarray
    correct: np.ndarray

    @property
    def bins(self) -> list[np.ndarray]:
        """Positions of the photos of each bin, from the least to the most probable."""
        number = max(1, min(_MAX_BINS, len(self.correct) // _MIN_PHOTOS_PER_BIN))
        return np.array_split(np.argsort(self.probability, kind="stable"), number)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean difference between probability and share of correct photos in a bin."""
        gaps = [abs((self.probability[rows] - self.correct[rows]).sum()) for rows in self.bins]
        return float(sum(gaps) / len(self.correct))

    def expected_errors(self, seed: int) -> np.ndarray:
        """Return the errors, float (draws,), that exactly correct probabilities would show on as many photos."""
        rng, bins = np.random.default_rng(seed), self.bins
        order, starts = np.concatenate(bins), np.cumsum([0, *(len(rows) for rows in bins[:-1])])
        probability = self.probability[order]
        draws = (rng.random(len(order)) < probability for _ in range(_DRAWS))
        gaps = [np.abs(np.add.reduceat(probability - correct, starts)).sum() for correct in draws]
        return np.array(gaps) / len(order)


@dataclass(frozen=True, eq=False)
class Calibration(Result):
    """Probabilities of different photos by heads that were not trained on them, and the temperature to use.

    Attributes
    ----------
    before, after : Reliability
        As the head gives them, and with the temperature, which is fitted on the other folds.
    fitted : float
        The temperature with the lowest log loss on all folds.
    log_loss : tuple of float
        Mean log loss in nats, before and after.
    p_value : float
        One-sided, of the paired t-test of the decrease of the log loss per photo.
    expected : tuple of float
        Calibration error of a perfectly calibrated head on as many photos: mean, and in 95 of 100 cases at most.
    error_p_value : float
        Share of perfectly calibrated heads with an error as large as the one measured.
    rarest : tuple
        Of very uneven classes the rarest one, its number of photos, and the photos predicted as it; otherwise None.

    Notes
    -----
    C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    """

    name = "calibration"
    before: Reliability
    after: Reliability
    fitted: float
    log_loss: tuple[float, float]
    p_value: float
    expected: tuple[float, float]
    error_p_value: float
    rarest: tuple[str, int, Reliability] | None = None
    notes: Sequence[str] = ()  #: what differs from the folds and classes that were asked for

    @property
    def mistakes(self) -> int:
        """Number of photos that are predicted incorrectly."""
        return int((~self.before.correct).sum())

    @property
    def temperature(self) -> float:
        """The temperature to use: the fitted one if it is significantly better, otherwise 1."""
        return self.fitted if self.mistakes >= _MIN_MISTAKES and self.p_value < _ALPHA else 1.0

    @property
    def state(self) -> str:
        """Whether the probabilities of the head without temperature are wrong: one of finding.STATES."""
        excess = self.before.error - self.expected[0]
        if self.error_p_value < _CLEAR_ALPHA and excess >= _MATERIAL:
            return FOUND
        if self.error_p_value < _BORDERLINE_ALPHA:
            return BORDERLINE
        return CANNOT_TELL if self.expected[1] > _NOISY else NOTHING_FOUND

    def summary(self) -> str:
        before, (mean, high) = self.before, self.expected
        probability, share = before.probability.mean(), before.correct.mean()
        wrong = f"too {'high' if probability > share else 'low'}"
        if abs(probability - share) < before.error / 2:
            wrong = "wrong, some too high and some too low"
        meaning = {
            FOUND: f"The probabilities are {wrong}.",
            BORDERLINE: "Borderline: the probabilities may be slightly wrong.",
            NOTHING_FOUND: "The probabilities can be read as shares of correct photos.",
            CANNOT_TELL: "Cannot tell whether the probabilities are correct, too few photos.",
        }
        lines = [
            f"{plural(len(before.correct), 'different photo')}, each predicted by a head that was not trained on it; "
            f"no test photo. The predicted class has a probability of {format_share(probability)} on average, and "
            f"is correct for {format_share(share)} of the photos.",
            f"Expected calibration error: {before.error:.3f}. A head with perfect probabilities shows {mean:.3f} on as "
            f"many photos, and in 95 of 100 cases at most {high:.3f}. {meaning[self.state]}",
            self._temperature_sentence(),
        ]
        if self.rarest:
            lines.append(_rarest_sentence(*self.rarest))
        return "\n".join([*lines, *self.notes])

    def _temperature_sentence(self) -> str:
        if self.mistakes < _MIN_MISTAKES:
            return (
                f"Temperature scaling is not used: {plural(self.mistakes, 'incorrect photo')} cannot decide the "
                f"temperature, at least {_MIN_MISTAKES} are needed."
            )
        before, after = self.log_loss
        change = f"log loss {before:.3f} → {after:.3f} on folds that the temperature was not fitted on"
        if self.temperature == 1:
            return (
                f"Temperature scaling is not used: it is not significantly better ({change}, p = {self.p_value:.2g})."
            )
        effect = "less" if self.fitted > 1 else "more"
        return (
            f"Temperature scaling with {self.fitted:.2f} is used. It makes the probabilities {effect} certain and "
            f"changes no prediction: {change} (p = {self.p_value:.2g}), calibration error {self.before.error:.3f} → "
            f"{self.after.error:.3f}."
        )

    def alt(self) -> str:
        points = ", ".join(f"{point[1]:.2f} at {point[0]:.2f}" for point in _curve(self.before))
        return (
            f"Share of {plural(len(self.before.correct), 'photo')} that is correct, by the probability of the "
            f"predicted class: {points}. Expected calibration error {self.before.error:.3f}."
        )

    def plot(self) -> Figure:
        figure, axis = plt.subplots(figsize=(5.4, 4.2))
        axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
        curves = [(self.before, BLUE, "o", "as trained")]
        if self.temperature != 1:
            curves.append((self.after, ORANGE, "s", f"with temperature {self.fitted:.2f}"))
        lowest = 1.0
        for reliability, colour, marker, label in curves:
            table = _curve(reliability)
            errors = np.abs(table[:, 2:] - table[:, 1:2]).T
            axis.errorbar(
                table[:, 0], table[:, 1], errors, color=colour, marker=marker, capsize=3, label=label, clip_on=False
            )
            lowest = min(lowest, table[:, [0, 2]].min())
        limits = (max(0.0, lowest - 0.03), 1.0)
        axis.set(xlim=limits, ylim=limits)
        axis.set(xlabel="probability of the predicted class", ylabel="share correct, with its 95 % interval")
        axis.set_title(f"Are the probabilities correct? {len(self.before.correct)} photos")
        axis.legend(frameon=False)
        return figure

    def to_dict(self) -> dict[str, Any]:
        names = ("probability", "correct", "low", "high")
        return {
            "state": self.state,
            "temperature": self.temperature,
            "fitted_temperature": self.fitted,
            "photos": len(self.before.correct),
            "incorrect": self.mistakes,
            "log_loss": self.log_loss[0],
            "log_loss_scaled": self.log_loss[1],
            "p_value": self.p_value,
            "calibration_error": self.before.error,
            "calibration_error_scaled": self.after.error,
            "calibration_error_if_perfect": self.expected[0],
            "calibration_error_if_perfect_95": self.expected[1],
            "calibration_error_p_value": self.error_p_value,
            "curve": [dict(zip(names, row, strict=True)) for row in _curve(self.before).tolist()],
        }


def calibrate(validator: CrossValidator, *, fine_tuned: bool = False) -> Calibration | Skipped:
    """Compare out-of-fold probabilities with the share of correct photos, and fit a temperature.

    The configured head is trained once per fold of the training and validation photos; near-duplicates count once. With
    `fine_tuned`, nothing is done: the heads of the folds are trained without fine-tuning.
    """
    if fine_tuned:
        return Skipped(
            Calibration.name,
            "Not calibrated: fine-tuning was kept, and the probabilities of heads without it do not tell about it.",
        )
    folds = validator.folds_without_test
    if folds is None:
        return validator.skipped(Calibration.name)
    return _calibration(folds, validator.configured_probabilities(folds), validator.settings["SEED"])


def scale_temperature(head: "keras.Model", calibration: Calibration | Skipped) -> "keras.Model":
    """Return a copy of a head whose probabilities are scaled by the temperature of `calibration`; 1 if it was skipped.

    Kernel and bias of the last layer are divided by the temperature, so that the copy has no other layers. The head
    itself stays as it is. With temperature 1 the copy gives bit-identical probabilities.

    Raises
    ------
    ValueError
        The temperature is not 1 and the last layer is not Dense with softmax.
    """
    import keras

    temperature = calibration.temperature if isinstance(calibration, Calibration) else 1.0
    scaled = keras.models.clone_model(head)
    scaled.set_weights(head.get_weights())
    if temperature != 1:
        last = scaled.layers[-1]
        if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
            raise ValueError(
                f"Temperature scaling needs a head whose last layer is Dense with softmax; {head.name} has another one."
            )
        last.set_weights([weights / temperature for weights in last.get_weights()])
    return scaled


def _calibration(folds: Folds, probabilities: np.ndarray, seed: int) -> Calibration:
    labels, counted, photos = folds.labels, folds.representative, np.arange(len(folds.labels))
    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    scaled = logits.copy()
    for fold in folds.folds:
        others = counted.copy()
        others[fold.test] = False
        scaled[fold.test] /= _fit_temperature(logits[others], labels[others])
    losses = [-log_softmax(values, axis=1)[photos, labels][counted] for values in (logits, scaled)]
    correct = (probabilities.argmax(axis=1) == labels)[counted]
    before, after = (
        Reliability(np.exp(log_softmax(values, axis=1)).max(axis=1)[counted], correct) for values in (logits, scaled)
    )
    expected = before.expected_errors(seed)
    return Calibration(
        before,
        after,
        fitted=_fit_temperature(logits[counted], labels[counted]),
        log_loss=(float(losses[0].mean()), float(losses[1].mean())),
        p_value=_p_value(losses[0] - losses[1]),
        expected=(float(expected.mean()), float(np.quantile(expected, 0.95))),
        error_p_value=float((1 + (expected >= before.error).sum()) / (1 + len(expected))),
        rarest=_rarest(folds, probabilities.argmax(axis=1)[counted], before),
        notes=folds.notes(),
    )


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest mean log loss, within _LIMITS."""
    photos = np.arange(len(labels))

    def log_loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[photos, labels].mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=np.log(_LIMITS), method="bounded").x))


def _p_value(gain: np.ndarray) -> float:
    """Return the one-sided p-value of the t-test that the mean is above 0; gain: float (n,).

    Tests by ranks or random signs are no tests of the mean here: a temperature above 1 costs most photos a little, and
    gains much for the few that are confidently wrong.
    """
    if not gain.any():
        return 1.0
    return float(ttest_1samp(gain, 0.0, alternative="greater").pvalue)


def _rarest(folds: Folds, predicted: np.ndarray, reliability: Reliability) -> tuple[str, int, Reliability] | None:
    sizes = np.bincount(folds.labels[folds.representative], minlength=len(folds.classes))
    if not are_uneven(sizes):
        return None
    rarest = int(sizes.argmin())
    rows = predicted == rarest
    of_rarest = Reliability(reliability.probability[rows], reliability.correct[rows])
    return folds.classes[rarest], int(sizes[rarest]), of_rarest


def _rarest_sentence(name: str, size: int, predicted: Reliability) -> str:
    total, correct = len(predicted.correct), int(predicted.correct.sum())
    interval = wilson(correct, total)
    start = f"The rarest class, {name}, has {plural(size, 'different photo')}"
    if interval is None or total < _MIN_PHOTOS_PER_BIN:
        return f"{start}: cannot tell whether its probabilities are correct ({plural(total, 'photo')} predicted as it)."
    return (
        f"{start}: photos predicted as it have a probability of {format_share(predicted.probability.mean())} on "
        f"average, and {correct} of {total} are correct: {format_share(correct / total)} (95 % interval "
        f"{interval[0]:.2f} to {interval[1]:.2f})."
    )


def _curve(reliability: Reliability) -> np.ndarray:
    """Return one row per bin, float (bins, 4): mean probability, share correct, and its 95 % interval."""
    rows = []
    for photos in reliability.bins:
        correct = reliability.correct[photos]
        low, high = wilson(correct.sum(), len(correct)) or (0.0, 1.0)
        rows.append((reliability.probability[photos].mean(), correct.mean(), low, high))
    return np.array(rows)
