"""Makes the recordings: `python -m tests.recordings.make [PRODUCER ...]`, or `make recordings`."""
