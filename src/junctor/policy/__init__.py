"""The decisions, as pure functions: which endpoint, next or stop, what a key looks like.

No clock, dice, environment or I/O: what a function needs to know of them is an argument.
"""
