"""The layout of a folder: what the names of folders and files say about classes and splits."""

from phototransfer.photos.layout.description import Layout, UnclearFolder

__all__ = ["Layout", "UnclearFolder"]
