"""Runs: from a recipe to weights, and from weights to figures. Only here do networks, losses and data meet."""
