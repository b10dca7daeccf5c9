"""What the notebook calls, one module a question; and the project's own folders, wherever it was cloned."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = ROOT / "models"
