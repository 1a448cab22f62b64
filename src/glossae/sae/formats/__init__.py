"""SAE files: glossae's own, and those of other libraries."""
