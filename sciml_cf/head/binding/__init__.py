"""Bindings from a model's last linear layer to rows and back: its inputs, its outputs, and their axes."""
