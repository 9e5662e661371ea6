"""What several tests and benches share: makers of input, models of the expected output."""
