"""A small Hugging Face Hub for tests: real HTTP, the real wire protocol, faults on demand.

The unmodified `huggingface_hub` and `datasets` clients talk to it in both transfer modes. It has no pull requests, no git
over HTTP, and one writer at a time.
"""
