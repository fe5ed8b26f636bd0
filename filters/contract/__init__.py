"""What a filter is: what it takes, what it gives, its answers and its errors."""
