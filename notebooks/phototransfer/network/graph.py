"""A model as one graph: faster than layer by layer, and traced once for batches of any size."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

_ATTRIBUTE = "_phototransfer_graph"


def as_graph(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model as a graph, from an array or tensor to float32: traced once, and kept with the model.

    Tracing takes a second for a large network. `model.predict` traces again when a batch has another size.
    """
    graph = getattr(model, _ATTRIBUTE, None)
    if graph is None:
        signature = [tf.TensorSpec(model.input_shape, tf.float32)]
        graph = tf.function(lambda x: model(x, training=False), input_signature=signature)
        setattr(model, _ATTRIBUTE, graph)
    return lambda x: graph(tf.convert_to_tensor(x, tf.float32)).numpy()


def is_traced(model: keras.Model) -> bool:
    """Tell whether `as_graph` has been used for this model."""
    return hasattr(model, _ATTRIBUTE)
