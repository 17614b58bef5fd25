"""Read the columns path and content of a Parquet file in one way: CPU seconds of each round, as JSON.

PYTHON reading.py WAY TABLE ROUNDS
"""

import json
import resource
import sys

COLUMNS = ["path", "content"]


def cpu():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def with_pyarrow(table):
    import pyarrow.parquet as pq

    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in file.iter_batches(1024, columns=COLUMNS, use_threads=False):
            assert batch.num_rows


def with_pyarrow_rows(table):
    import pyarrow.parquet as pq

    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in file.iter_batches(1024, columns=COLUMNS, use_threads=False):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                assert row


def with_polars(table):
    import polars as pl

    assert pl.read_parquet(table, columns=COLUMNS).height


def with_duckdb(table):
    import duckdb

    query = duckdb.connect(config={"threads": 1}).execute(f"SELECT path, content FROM '{table}'")
    for batch in query.fetch_record_batch(1024):
        assert batch.num_rows


def with_datasets(table):
    import datasets

    for row in datasets.load_dataset("parquet", data_files=table, split="train", streaming=True, columns=COLUMNS):
        assert row


def ours_files(table):
    from magicoder.corpora.tables import Tables

    for file in Tables(path=table).documents(1_000_000):
        assert file.id


def ours_columns(table):
    from magicoder.corpora.tables import Tables

    for found in Tables(path=table).tables(1_000_000):
        assert found.num_rows


def ours_part(table):
    from pathlib import Path

    from magicoder.store import read_table

    assert read_table(Path(table), COLUMNS).num_rows


WAYS = {
    "pyarrow": with_pyarrow,
    "pyarrow, rows": with_pyarrow_rows,
    "polars": with_polars,
    "duckdb": with_duckdb,
    "datasets": with_datasets,
    "ours, files": ours_files,
    "ours, columns": ours_columns,
    "ours, a part": ours_part,
}


def main(way, table, rounds):
    WAYS[way](table)
    taken = []
    for _ in range(int(rounds)):
        before = cpu()
        WAYS[way](table)
        taken.append(cpu() - before)
    print(json.dumps(taken))


if __name__ == "__main__":
    main(*sys.argv[1:])
