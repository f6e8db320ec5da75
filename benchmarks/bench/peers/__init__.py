"""What users would pick instead, each written as its own documentation advises."""
