"""The factory from Python: the calls that `import factory` gives, and a run that is opened to look at."""
