"""What bench.py is made of, a subject a file."""
