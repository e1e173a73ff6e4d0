"""What is typed: options that several verbs take, words kept as typed, completion."""
