"""The data that NannyML ships: arrays `NAME/COLUMN/reference` and `NAME/COLUMN/analysis`, labels as codes."""

from __future__ import annotations

import sys

import nannyml
import numpy as np
import pandas as pd

WANTED = {
    "car_loan": (
        nannyml.load_synthetic_car_loan_dataset,
        ("car_value", "debt_to_income_ratio", "loan_length", "driver_tenure", "y_pred_proba"),
        ("salary_range", "repaid_loan_on_prev_car", "size_of_downpayment"),
    ),
    "census": (
        nannyml.load_us_census_ma_employment_data,
        ("AGEP", "predicted_probability"),
        ("SCHL", "MAR", "RELP", "CIT", "RAC1P"),
    ),
    "housing": (
        nannyml.load_modified_california_housing_dataset,
        ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"),
        (),
    ),
}

arrays = {}
for name, (load, numbers, labels) in WANTED.items():
    parts = dict(zip(("reference", "analysis"), load()[:2], strict=True))
    for column in numbers:
        for part, frame in parts.items():
            arrays[f"{name}/{column}/{part}"] = frame[column].to_numpy(float)
    for column in labels:
        codes, _ = pd.factorize(pd.concat([frame[column].astype(str) for frame in parts.values()]))
        for part, found in zip(parts, np.split(codes, [len(parts["reference"])]), strict=True):
            arrays[f"{name}/{column}/{part}"] = found.astype(float)
np.savez(sys.argv[1], **arrays)
