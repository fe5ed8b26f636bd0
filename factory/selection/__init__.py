"""From scores to a verdict on every caption: kept, or dropped with a reason."""
