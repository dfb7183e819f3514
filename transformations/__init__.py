"""Row-level Python of this project: sources (a raw export to events), on-demand features, labels."""
