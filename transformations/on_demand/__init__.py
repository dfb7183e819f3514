"""
Request-time features: functions of an Arrow table, row by row, with neither I/O nor a clock.

Each module is carried by a release as text and runs by itself, so it imports libraries only.
"""
