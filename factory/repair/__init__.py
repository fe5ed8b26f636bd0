"""Captions judged unfaithful are written again, or lose their wrong sentences."""
