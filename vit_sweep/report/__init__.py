"""What a study says: `tables/` and `page/` are pure, `figures/` draws, the files here gather and write. No judging."""
