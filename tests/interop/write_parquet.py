"""Writes parquet files with pyarrow, as the reference's generator does, and where their chunks lie.

    write_parquet.py FOLDER

For each file NAME.parquet the footer by itself as NAME.parquet-tail, and a text NAME.chunks: first
the length of the file, then a line `group rows column start bytes` for each column chunk.
tests/parquet_golden.rs holds both against what rankio finds in the footer; tests/mpi_parquet.rs trains
on pyarrow-snappy.parquet.
"""

import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 700


def table():
    """Columns of the kinds that the benchmark's files have, and some that it does not."""
    draw = np.random.default_rng(7)
    floats = pa.array(draw.random(ROWS * 5, dtype=np.float32))
    return pa.table({
        "half": pa.array(draw.random(ROWS).astype(np.float16)),
        "single": pa.array(draw.random(ROWS, dtype=np.float32)),
        "double": pa.array(draw.random(ROWS)),
        "small": pa.array(draw.integers(-128, 128, ROWS, dtype=np.int8)),
        "list": pa.FixedSizeListArray.from_arrays(floats, 5),
        "word": pa.array([f"row {index % 17}" for index in range(ROWS)]),
        "pair": pa.StructArray.from_arrays(
            [pa.array(range(ROWS)), pa.array([None] * ROWS, pa.float64())], ["left", "right"]),
    })


FILES = {
    "pyarrow-default": {"compression": "none"},
    "pyarrow-snappy": {"compression": "snappy"},
    "pyarrow-zstd-v2": {"compression": "zstd", "data_page_version": "2.0",
                        "write_page_index": True},
    "pyarrow-lz4": {"compression": "lz4", "use_dictionary": ["word"]},
    "pyarrow-split": {"compression": "gzip", "use_dictionary": False, "write_statistics": False,
                      "column_encoding": {"single": "BYTE_STREAM_SPLIT",
                                          "small": "DELTA_BINARY_PACKED"}},
}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in FILES.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table(), path, row_group_size=300, **options)
        metadata = pq.ParquetFile(path).metadata
        data = path.read_bytes()
        tail = int.from_bytes(data[-8:-4], "little") + 8
        path.with_suffix(".parquet-tail").write_bytes(data[-tail:])
        lines = [f"{len(data)}\n"]
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group)
            for index in range(rows.num_columns):
                chunk = rows.column(index)
                start = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    start = min(start, chunk.dictionary_page_offset)
                column = chunk.path_in_schema.split(".")[0]
                lines.append(f"{group} {rows.num_rows} {column} {start} "
                             f"{chunk.total_compressed_size}\n")
        path.with_suffix(".chunks").write_text("".join(lines))


if __name__ == "__main__":
    main()
