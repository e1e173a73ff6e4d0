"""Tables with a row for each run, of other programs: columns recognised, values read, runs made of rows."""
