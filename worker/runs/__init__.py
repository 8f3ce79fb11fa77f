"""
The seam into Faust, kept alone: how runs are delivered, abandoned and acknowledged, and how a table shows them.

Everything here leans on internals of faust-streaming 0.15.3; tests/unit/test_seams.py fails when they move.
"""
