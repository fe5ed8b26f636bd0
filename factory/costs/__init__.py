"""What runs cost and where their time went; kept in the user's cache directory, as the past of this machine."""
