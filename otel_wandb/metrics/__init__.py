"""The metrics line: data points in, one row of charts a service and interval out.

`histogram` is the exact algebra of the two kinds of histograms, `streams` turns the points of many processes
into closed intervals, `charts` turns a closed interval into a row, and `runs` says which W&B run and step it
belongs to. Everything here is a function of the data: no clock is read, and nothing is written.
"""
