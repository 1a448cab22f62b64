"""The figures: each a drawing with the numbers it shows."""

from sprog.report.figures.as_coded import as_coded_frame, draw_as_coded
from sprog.report.figures.canvas import Drawing
from sprog.report.figures.grid import Marks, draw_grid, grid_table
from sprog.report.figures.layers import draw_layers, draw_nearest
from sprog.report.figures.next_token import draw_next_token
from sprog.report.figures.preactivations import draw_preactivations
from sprog.report.figures.probes import collapsed, draw_probes, probe_table
from sprog.report.figures.rates import draw_rates
from sprog.report.figures.steering import draw_steering, steering_frame
from sprog.report.figures.tasks import draw_tasks
from sprog.report.figures.texts import draw_text
from sprog.report.figures.training import draw_training

__all__ = [
    "Drawing",
    "Marks",
    "as_coded_frame",
    "collapsed",
    "draw_as_coded",
    "draw_grid",
    "draw_layers",
    "draw_nearest",
    "draw_next_token",
    "draw_preactivations",
    "draw_probes",
    "draw_rates",
    "draw_steering",
    "draw_tasks",
    "draw_text",
    "draw_training",
    "grid_table",
    "probe_table",
    "steering_frame",
]
