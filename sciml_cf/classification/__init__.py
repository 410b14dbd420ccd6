"""Satellite: classification with a closed-form head. Methods, estimators, metrics, images and networks."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
