"""The parts of the page: each file makes the blocks, figures and sentences of its sections."""
