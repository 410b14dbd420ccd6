"""Operator surrogates with a closed-form last layer.

The core: ``head``, ``models``, ``datasets``, ``training``, ``evaluate``, ``report``, ``adapters``, ``cli``. The
satellites use the head for other ends: ``classification``, ``causal``, ``layerwise``, ``theory``, and ``studies``,
which measures all of it. The public names are those of ``__init__.pyi``; each is imported when it is first used.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

import data_gen

if getattr(data_gen, "__project__", None) != "sciml_cf":
    raise ImportError(
        f"sciml_cf: the package `data_gen` must be its own; got {getattr(data_gen, '__file__', None) or data_gen}. "
        "Another folder of that name comes first on the path: rename it, or start Python elsewhere."
    )

try:
    __version__ = version("sciml-cf")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
