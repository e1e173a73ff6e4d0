"""Tables as rows: what a study says, one table for each question. Pure; `collect` writes them as files.

`all_tables.tables_of` makes all of them; `table.Table` says of each column what it means; `text` turns one into CSV,
Markdown or LaTeX.
"""
