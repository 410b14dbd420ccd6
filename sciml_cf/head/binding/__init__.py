"""From a model's last linear layer to rows and back: what it saw, what it said, how its axes lie."""
