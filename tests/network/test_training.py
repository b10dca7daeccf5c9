"""A head that is trained again is the head that would have been built anew."""

import keras
import numpy as np

from builders import SETTINGS, build_head, fit_head
from phototransfer.network.training import HeadTrainer


def data(count: int = 80):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    x = rng.standard_normal((count, 6)).astype(np.float32)
    x[:, 0] += 1.5 * labels
    return {"train": (x[:50], labels[:50]), "val": (x[50:], labels[50:]), "x": x}


def test_a_restarted_head_is_bit_identical_to_a_new_one():
    weights = []

    def fit(head, *arguments):
        fit_head(head, *arguments)
        weights.append(head.get_weights())

    trainer, arguments = HeadTrainer(build_head, fit, 6, 2, SETTINGS), data()
    first, _, third = (trainer.predict(**arguments, seed=seed) for seed in (7, 8, 7))
    np.testing.assert_array_equal(first, third)
    keras.utils.set_random_seed(7)
    new = build_head(6, 2, SETTINGS)
    keras.utils.set_random_seed(7)
    fit_head(new, arguments["train"], arguments["val"], SETTINGS)
    for one, another, expected in zip(weights[0], weights[2], new.get_weights(), strict=True):
        assert (one == another).all() and (one == expected).all()
    assert any((one != other).any() for one, other in zip(weights[0], weights[1], strict=True))
    np.testing.assert_allclose(first, new.predict(arguments["x"], verbose=0), rtol=1e-5)


def test_both_functions_get_the_settings_of_the_trainer():
    received = []

    def build(n_features, n_classes, settings):
        received.append(settings)
        return build_head(n_features, n_classes, settings)

    def fit(head, train, val, settings):
        received.append(settings)

    settings = {**SETTINGS, "HEAD": [3]}
    trainer = HeadTrainer(build, fit, 6, 2, settings)
    settings["HEAD"] = [4, 4]  # by changing the settings cell
    assert trainer.predict(**data(), seed=1).shape == (80, 2)
    assert [each["HEAD"] for each in received] == [[3], [3]]
