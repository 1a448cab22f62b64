"""The figures: each a drawing with the numbers it shows."""

from glossae.report.figures.as_coded import as_coded_frame, draw_as_coded
from glossae.report.figures.canvas import Drawing
from glossae.report.figures.grid import Marks, draw_grid, grid_table
from glossae.report.figures.layers import draw_layers, draw_nearest
from glossae.report.figures.next_token import draw_next_token
from glossae.report.figures.preactivations import draw_preactivations
from glossae.report.figures.probes import collapsed, draw_probes, probe_table
from glossae.report.figures.rates import draw_rates
from glossae.report.figures.steering import draw_steering, steering_frame
from glossae.report.figures.tasks import draw_tasks
from glossae.report.figures.texts import draw_text
from glossae.report.figures.training import draw_training

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
