"""From a run's verdicts to a release of `exports`."""
