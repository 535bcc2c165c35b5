"""Series that ship with river, with the changes that people marked, and the hourly temperatures of Vega.

`annotated/NAME/values` has a row for each variable, `annotated/NAME/ANNOTATOR` the indices of the changes;
`temperatures/CITY` has hours of 2010, `temperatures/hours` which they are.

river also has Bitcoin, Apple and BrentSpotPrice, whose annotations are of a series with fewer points.
"""

from __future__ import annotations

import sys

import numpy as np
from river.drift import datasets
from vega_datasets import local_data

SETS = (datasets.Occupancy, datasets.RunLog, datasets.UKCoalEmploy, datasets.AirlinePassengers)

arrays = {}
for source in SETS:
    data = source()
    rows = [list(y.values()) if isinstance(y, dict) else [y] for _, y in data]
    arrays[f"annotated/{source.__name__}/values"] = np.array(rows, float).T
    for annotator, marks in data.annotations.items():
        arrays[f"annotated/{source.__name__}/{annotator}"] = np.array(marks, int)
for city, table in (("Seattle", local_data.seattle_temps()), ("San Francisco", local_data.sf_temps())):
    arrays[f"temperatures/{city}"] = table["temp"].to_numpy(float)
    arrays[f"temperatures/hours/{city}"] = table["date"].to_numpy("datetime64[h]").astype(np.int64)
np.savez(sys.argv[1], **arrays)
