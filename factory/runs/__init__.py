"""What a run wrote to disk: its tables and their columns, its parts, and the lock of its one writer."""
