"""What scores and captions are worth, by the demo world's truth or by people's references."""
