"""Transfer learning on your own photos: the code behind `notebooks/transfer_learning.ipynb`.

Imports point one way: `files, console, stats, style, settings, report` ← `photos` ← `network` ← `evaluate` ← `audit`.
"""
