"""Look, label, compare, decide: a local web app over the tables of a run."""
