"""Satellite: the theorems of the closed-form last layer as functions, and where their premises fail."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
