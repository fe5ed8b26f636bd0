"""Ask a model: vLLM in this process or an OpenAI-compatible server, and the Ray cluster that they run in."""
