"""The paper's tables: published values, our runs, verdicts."""
