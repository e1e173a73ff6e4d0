"""What every table is made of: columns with units and meanings, rows, rounding, and a table as text."""
