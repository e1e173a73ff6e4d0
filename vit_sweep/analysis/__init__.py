"""From runs to statements about scaling: series, intervals, models, audits, comparisons. Pure."""
