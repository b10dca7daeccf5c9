"""What is said about the GPU."""

from types import SimpleNamespace

import pytest

from phototransfer.network import gpu


@pytest.fixture
def computer(monkeypatch):
    """computer(used, installed): one whose TensorFlow uses these GPUs, and that has an NVIDIA GPU or none."""

    def make(used: list[str], installed: bool) -> None:
        devices = [SimpleNamespace(name=f"/physical_device:GPU:{name}") for name in used]
        details = SimpleNamespace(get_device_details=lambda device: {"device_name": device.name[-4:]})
        config = SimpleNamespace(list_physical_devices=lambda kind: devices, experimental=details)
        monkeypatch.setattr(gpu, "tf", SimpleNamespace(config=config))
        monkeypatch.setattr(gpu.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if installed else None)

    return make


def test_a_gpu_without_cuda_is_named_with_the_way_out(computer):
    computer([], installed=True)
    assert "not used" in gpu.describe_gpu() and "make gpu" in gpu.describe_gpu()


def test_gpus_that_are_used_are_named(computer):
    computer(["A100", "H100"], installed=True)
    assert gpu.describe_gpu() == "GPU: A100, H100."


def test_a_computer_without_a_gpu(computer):
    computer([], installed=False)
    assert "CPU" in gpu.describe_gpu() and "make gpu" not in gpu.describe_gpu()
