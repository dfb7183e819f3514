"""Adapters: each turns the records of one kind of export into events (`lifecycle.pipeline.intake.adapter`)."""
