"""Tables as Parquet, written beside and renamed."""

from pathlib import Path
from typing import Any

import numpy as np

from glossae.files import replacing


def write_table(path: Path, rows: list[dict[str, Any]] | dict[str, np.ndarray]) -> None:
    """Write rows (dictionaries with the same keys), or columns by name, as a Parquet file."""
    import pandas as pd

    with replacing(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)


def read_column(path: Path, column: str, **where: str) -> list[Any]:
    """One column of a Parquet file, of the rows that have these values in other columns; nothing else is read."""
    import pandas as pd

    filters = [(name, "==", value) for name, value in where.items()]
    values: list[Any] = pd.read_parquet(path, columns=[column], filters=filters)[column].tolist()
    return values
