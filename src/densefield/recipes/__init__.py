"""Recipes: training runs as short files of objects, one for every published table row."""
