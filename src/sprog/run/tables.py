"""Tables as Parquet, written beside and renamed."""

from pathlib import Path
from typing import Any

from sprog.files import replacing


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows (dictionaries with the same keys) as a Parquet file."""
    import pandas as pd

    with replacing(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    import pandas as pd

    return [
        {str(key): value for key, value in row.items()} for row in pd.read_parquet(path).to_dict("records")
    ]
