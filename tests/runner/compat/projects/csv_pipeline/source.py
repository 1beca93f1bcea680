import csv
from pathlib import Path

from crystallize import FrozenContext, data_source


@data_source
def table(ctx: FrozenContext, default_path: str, key: str = "csv_path"):
    path = Path(ctx.as_dict().get(key, default_path))
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [[float(row[name]) for name in reader.fieldnames] for row in reader]
    return rows[ctx.get("replicate", 0) :]
