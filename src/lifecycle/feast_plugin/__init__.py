"""
The Feast contract, thin: data source, offline store, and what turns a Feast repo into definitions.

The only package that imports Feast, which costs seconds: import its modules where they are used.
"""
