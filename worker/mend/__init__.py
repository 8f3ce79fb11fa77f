"""What operators mend with: statistics held against the rows, and recomputed from them."""
