"""How good a trained model is at resolutions that it was not trained at, and where its error comes from."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
