"""From runs to statements about scaling: series, intervals, laws, audits, comparisons. Pure: opens no file."""
