"""Networks: backbones, features, training, fine-tuning, Grad-CAM and the classification of new photos."""

from phototransfer.network.backbones import Backbone, load_backbone
from phototransfer.network.classify import classify, load_run
from phototransfer.network.complete_model import complete_model
from phototransfer.network.export import export_model
from phototransfer.network.features import Features, extract
from phototransfer.network.fine_tuning import fine_tune, is_kept, predict
from phototransfer.network.fitting import fit, predict_rows
from phototransfer.network.gpu import describe_gpu
from phototransfer.network.grad_cam import grad_cam_examples
from phototransfer.network.novelty import measure_novelty
from phototransfer.network.saved_model import check_saved_model
from phototransfer.network.training import HeadTrainer

__all__ = [
    "Backbone",
    "Features",
    "HeadTrainer",
    "check_saved_model",
    "classify",
    "complete_model",
    "describe_gpu",
    "export_model",
    "extract",
    "fine_tune",
    "fit",
    "grad_cam_examples",
    "is_kept",
    "load_backbone",
    "load_run",
    "measure_novelty",
    "predict",
    "predict_rows",
]
