"""The tables that rows of charts take along: single requests, sampled so that sums over a table are right.

.. code-block:: text

    sampling.py  which requests stand for all: the slowest, those that failed, a draw of the others
    columns.py   what a table shows, and how long a cell may be
    nearest.py   which trace stands behind a point of a chart
    hours.py     Tables: collects by interval, hands over by hour; what survives a restart
    line.py      finished traces in, requests collected

Nothing here does any I/O.
"""
