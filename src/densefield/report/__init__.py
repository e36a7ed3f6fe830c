"""Reports as one HTML file: no scripts, nothing fetched, every picture and chart inside."""

from densefield.report.curves import Curves, Series, read_curves
from densefield.report.evaluation import Evaluated, Example, write_evaluation

__all__ = ["Curves", "Evaluated", "Example", "Series", "read_curves", "write_evaluation"]
