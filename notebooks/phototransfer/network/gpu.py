"""Whether TensorFlow uses a GPU, and what to do if it does not use the one that is there."""

import shutil

import tensorflow as tf

from phototransfer.commands import gpu_commands


def describe_gpu() -> str:
    """Return a sentence on the GPUs that TensorFlow uses."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
        return f"GPU: {', '.join(names)}."
    if shutil.which("nvidia-smi"):
        return (
            "GPU: the NVIDIA GPU of this computer is not used, because TensorFlow has no CUDA. To install it: "
            f"{gpu_commands()}."
        )
    return "GPU: none, everything runs on the CPU."
