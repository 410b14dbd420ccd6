"""The closed-form head: moments, the one solve, rules on it, and the seams to a model; on torch, numpy and scipy.

The public names are those of ``__init__.pyi``; each is imported when it is first used.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
