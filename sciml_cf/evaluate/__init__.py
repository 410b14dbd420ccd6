"""Errors of a trained model at resolutions it was not trained at, and the sources of these errors."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
