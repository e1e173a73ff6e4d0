"""The report's page: its content as values, then one HTML file. No measuring, no judging."""
