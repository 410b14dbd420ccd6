"""Training: one loop, its settings, the run folder that it writes, and what the loop uses."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
