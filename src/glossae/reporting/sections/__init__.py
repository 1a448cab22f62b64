"""One function for each section of the page; what a section says is in captions.yaml."""
