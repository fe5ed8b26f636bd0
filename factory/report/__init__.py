"""The HTML report and preview: what happened, drawn from a run's tables."""
