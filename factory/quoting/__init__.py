"""What a run will cost before it starts: from a probe of its images, or from what such runs cost before."""
