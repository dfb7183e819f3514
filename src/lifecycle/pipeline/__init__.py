"""The pipeline: intake, build (dbt), gate (Great Expectations), release, materialize."""
