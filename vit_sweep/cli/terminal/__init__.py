"""What the verbs share on a terminal: printed tables, live progress, questions, options. No verb lives here."""
