"""Tables as Parquet, written beside and renamed."""

from pathlib import Path
from typing import Any

from sprog.files import replacing


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows (dictionaries with the same keys) as a Parquet file."""
    import pandas as pd

    with replacing(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)
