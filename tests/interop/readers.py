"""Opens every data file under a folder with readers that are not ours.

    readers.py FOLDER [--samples N] [--dtype uint8] [--chunks 1,64,64] [--same-as FOLDER]
                      [--compression SNAPPY]

numpy opens npz and npy, Pillow jpeg and png, h5py HDF5, pandas CSV, pyarrow parquet, safetensors the
files of checkpoints; TFRecord files are taken apart here, with google-crc32c for the checksums and
protobuf for the examples, and indexed binary by its two indexes. The kind of a file is its suffix.
With --same-as the parquet and csv files must hold the values of the files of the same name in another
folder.
One line for each kind; exit code 1 names the first file that a reader refuses.
"""

import argparse
import collections
import json
import pathlib
import struct
import sys

import google_crc32c
import h5py
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from safetensors import safe_open

# The sizes here are ours; a large picture is not an attack.
Image.MAX_IMAGE_PIXELS = None


def require(condition, what):
    """An assertion that python -O keeps."""
    if not condition:
        raise ValueError(what)


def example_class():
    """tf.train.Example from its published descriptor (tensorflow: example.proto, feature.proto)."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")

    def message(parent, name, *fields):
        made = parent.add(name=name)
        for number, (field_name, label, kind, type_name) in enumerate(fields, start=1):
            made.field.add(name=field_name, number=number, label=label, type=kind,
                           type_name=type_name)
        return made

    repeated, optional = field.LABEL_REPEATED, field.LABEL_OPTIONAL
    message(file.message_type, "BytesList", ("value", repeated, field.TYPE_BYTES, None))
    message(file.message_type, "FloatList", ("value", repeated, field.TYPE_FLOAT, None))
    message(file.message_type, "Int64List", ("value", repeated, field.TYPE_INT64, None))
    feature = message(
        file.message_type,
        "Feature",
        ("bytes_list", optional, field.TYPE_MESSAGE, ".tf.BytesList"),
        ("float_list", optional, field.TYPE_MESSAGE, ".tf.FloatList"),
        ("int64_list", optional, field.TYPE_MESSAGE, ".tf.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for member in feature.field:
        member.oneof_index = 0
    features = message(
        file.message_type,
        "Features",
        ("feature", repeated, field.TYPE_MESSAGE, ".tf.Features.FeatureEntry"),
    )
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", optional, field.TYPE_STRING, None),
        ("value", optional, field.TYPE_MESSAGE, ".tf.Feature"),
    )
    entry.options.map_entry = True
    message(file.message_type, "Example",
            ("features", optional, field.TYPE_MESSAGE, ".tf.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


EXAMPLE = example_class()


def masked_crc(data):
    """TFRecord's masked CRC-32C."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """Offset and payload of each record; checks both checksums."""
    offset = 0
    while offset < len(data):
        head = data[offset:offset + 12]
        require(len(head) == 12, f"record at {offset} is cut off")
        length, length_crc = struct.unpack("<QI", head)
        require(masked_crc(head[:8]) == length_crc, f"length CRC of the record at {offset}")
        payload = data[offset + 12:offset + 12 + length]
        tail = data[offset + 12 + length:offset + 16 + length]
        require(len(tail) == 4, f"record at {offset} is cut off")
        require(masked_crc(payload) == struct.unpack("<I", tail)[0], f"CRC of record at {offset}")
        yield offset, payload
        offset += 16 + length


def index_of(path):
    """Text index of a TFRecord file: index/<split>/<file>.idx beside the split's folder."""
    for split in path.parents:
        if split.name in ("train", "valid"):
            found = split.parent / "index" / split.name / (path.name + ".idx")
            return found if found.exists() else None
    return None


def read_tfrecord(path, options):
    data = path.read_bytes()
    places, sizes = [], set()
    for offset, payload in records(data):
        example = EXAMPLE.FromString(payload)
        features = example.features.feature
        require(set(features) == {"image", "size"}, f"features {sorted(features)}")
        require(len(features["size"].int64_list.value) == 1, "one size")
        (image,) = features["image"].bytes_list.value
        require(len(image) % options.dtype.itemsize == 0, "whole elements")
        sizes.add(len(image))
        places.append(f"{offset} {16 + len(payload)}")
    require(options.samples in (None, len(places)), f"{len(places)} records")
    require(len(sizes) == 1, f"samples of one size, not {sorted(sizes)}")
    index = index_of(path)
    require(index is not None, "no index file")
    require(index.read_text().split("\n") == places + [""], f"{index} does not match")
    return sum(sizes) * len(places)


def check_samples(array, options):
    require(array.ndim == 3, f"shape {array.shape}")
    require(array.dtype == options.dtype, f"dtype {array.dtype}")
    require(options.samples in (None, array.shape[2]), f"shape {array.shape}")
    require(array.nbytes < 512 or np.any(array.view(np.uint8)), "all zeros")
    return array.nbytes


def check_local_headers(path, members):
    """CRC and sizes in front of the data, which Python leaves to the central directory."""
    with open(path, "rb") as file:
        for info in members:
            file.seek(info.header_offset)
            head = struct.unpack("<4s5H3I2H", file.read(30))
            crc_agrees = head[0] == b"PK\3\4" and head[6] == info.CRC
            require(crc_agrees, f"local header of {info.filename}")
            require(head[7:9] == (0xFFFFFFFF, 0xFFFFFFFF), "sizes in the ZIP64 field")
            extra = file.read(head[9] + head[10])[head[9]:]
            sizes = struct.pack("<HHQQ", 1, 16, info.file_size, info.compress_size)
            require(extra == sizes, f"ZIP64 field of {info.filename}")


def read_npz(path, options):
    with np.load(path) as archive:
        check_local_headers(path, archive.zip.infolist())
        require(archive.files == ["x", "y"], f"members {archive.files}")
        require(archive.zip.testzip() is None, "CRC")
        x, y = archive["x"], archive["y"]
    require(y.dtype == np.int64 and y.shape == x.shape[2:] and not y.any(), "labels are zeros")
    return check_samples(x, options)


def read_npy(path, options):
    return check_samples(np.load(path), options)


def read_image(kind):
    def read(path, _options):
        with Image.open(path) as image:
            require(image.format == kind, f"opened as {image.format}")
            image.verify()
        with Image.open(path) as image:
            image.load()
            require(image.mode == "L", f"mode {image.mode}")
            return image.width * image.height

    return read


def expected_type(name, options):
    """Type of a column: that of the samples for `data`, else the column's name says it."""
    if name == "data":
        return pa.list_(pa.field("element", pa.from_numpy_dtype(options.dtype)))
    name, _, size = name.partition("_x")
    if name == "binary":
        return pa.binary(int(size))
    if name == "string":
        return pa.string()
    element = pa.type_for_alias({"float16": "halffloat"}.get(name, name))
    return pa.list_(pa.field("element", element)) if size else element


def value_bytes(chunk):
    """The values of a chunk, lists flattened, as little-endian bytes; bools take one byte."""
    array = pa.concat_arrays(chunk.chunks) if isinstance(chunk, pa.ChunkedArray) else chunk
    require(array.null_count == 0, "nulls")
    if pa.types.is_list(array.type):
        array = array.flatten()
    require(array.null_count == 0, "nulls in lists")
    if pa.types.is_boolean(array.type):
        return np.asarray(array.cast(pa.uint8())).tobytes()
    if pa.types.is_fixed_size_binary(array.type):
        return b"".join(array.to_pylist())
    if pa.types.is_string(array.type):
        return "".join(array.to_pylist()).encode("ascii")
    return np.asarray(array).tobytes()


def check_last_values(path, chunk, field, values):
    """Decoded values against the bytes in the file: those at the end of the chunk are the values of
    its last page, or the dictionary's indexes of them. 16-bit values are spread over their range."""
    element = field.value_type if pa.types.is_list(field) else field
    end = chunk.total_compressed_size + (
        chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
    if pa.types.is_boolean(element) or pa.types.is_string(element):
        return
    by_index = chunk.has_dictionary_page
    width = 1 if by_index else (element.bit_width // 8)
    count = min(chunk.num_values, 1000)
    padding = -chunk.num_values % 8 if by_index else 0
    with open(path, "rb") as file:
        file.seek(end - padding - count * width)
        raw = file.read(count * width)
    if by_index and element.bit_width == 16:
        raw = (np.frombuffer(raw, np.uint8).astype(np.uint16) * 257).tobytes()
    require(values[-len(raw):] == raw, "decoded values are not the bytes of the file")


def read_parquet(path, options):
    file = pq.ParquetFile(path)
    metadata, decoded = file.metadata, 0
    require(options.samples in (None, metadata.num_rows), f"{metadata.num_rows} rows")
    plain = options.compression == "UNCOMPRESSED" and options.same_as is None
    other = None
    if options.same_as is not None:
        other = pq.ParquetFile(options.same_as / path.relative_to(options.folder))
        require(file.schema_arrow == other.schema_arrow, "another schema")
    for field in file.schema_arrow:
        wanted = expected_type(field.name, options)
        require(field.type == wanted, f"column {field.name} is {field.type}")
        require(field.nullable, f"column {field.name} is required")
    for group in range(metadata.num_row_groups):
        rows, table = metadata.row_group(group), file.read_row_group(group)
        table.validate(full=True)
        require(table.num_rows == rows.num_rows, f"{table.num_rows} rows in group {group}")
        bytes_of_chunks = 0
        for index, name in enumerate(table.column_names):
            chunk = rows.column(index)
            require(chunk.compression == options.compression, f"{name} is {chunk.compression}")
            bytes_of_chunks += chunk.total_compressed_size
            values = value_bytes(table.column(index))
            if pa.types.is_string(table.schema.field(index).type):
                sizes = set(map(len, table.column(index).to_pylist()))
                require(sizes == {int(name.partition("_x")[2])}, f"{name} has lengths {sizes}")
            if not plain:
                if other is not None:
                    theirs = value_bytes(other.read_row_group(group, columns=[name]).column(0))
                    require(values == theirs, f"{name} of group {group} has other values")
                decoded += len(values)
                continue
            require(chunk.statistics.null_count == 0, f"{name} has nulls")
            require(not chunk.statistics.has_min_max, f"{name} has a least value")
            single_page = chunk.total_compressed_size < 1 << 20
            if single_page or not chunk.has_dictionary_page:
                check_last_values(path, chunk, table.schema.field(index).type, values)
            decoded += len(values)
        require(not plain or rows.total_byte_size == bytes_of_chunks, f"bytes of group {group}")
    return decoded


def check_chunks(dataset):
    """Chunks lie in row-major order of their coordinates, back to back."""
    grid = [-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks)]
    bytes_of_chunk = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    first = None
    for place, coordinates in enumerate(np.ndindex(*grid)):
        corner = tuple(at * side for at, side in zip(coordinates, dataset.chunks))
        info = dataset.id.get_chunk_info_by_coord(corner)
        first = info.byte_offset if first is None else first
        require(info.byte_offset == first + place * bytes_of_chunk, f"chunk at {corner}")
        require(info.size == bytes_of_chunk, f"{info.size} bytes of a chunk")


def read_hdf5(path, options):
    payload = 0
    with h5py.File(path, "r") as file:
        names = sorted(set(file) - {"labels"}, key=lambda name: int(name.split("_")[1]))
        require(names == [f"records_{place}" for place in range(len(names))], f"names {names}")
        labels = file["labels"]
        require(labels.dtype == np.int64 and not labels[...].any(), "labels are zeros")
        require(options.samples in (None, *labels.shape), f"{labels.shape} labels")
        for name in names:
            dataset = file[name]
            require(dataset.dtype == options.dtype, f"dtype {dataset.dtype}")
            require(dataset.shape[:1] == labels.shape, f"shape {dataset.shape}")
            require(dataset.maxshape == dataset.shape, f"maxshape {dataset.maxshape}")
            require(options.chunks in (None, dataset.chunks or ()), f"chunks {dataset.chunks}")
            array = dataset[...]
            if dataset.chunks:
                check_chunks(dataset)
            else:
                place = dataset.id.get_offset()
                raw = np.fromfile(path, np.uint8, array.nbytes, offset=place)
                require(np.array_equal(raw, array.reshape(-1).view(np.uint8)), "data in place")
            require(array.nbytes < 512 or np.any(array.view(np.uint8)), "all zeros")
            payload += array.nbytes
    return payload


def read_csv(path, options):
    array = pandas.read_csv(path, header=None).to_numpy()
    require(array.dtype == np.int64, f"parsed as {array.dtype}")
    require(array.min() >= 0 and array.max() < 256, f"from {array.min()} to {array.max()}")
    require(options.samples in (None, array.shape[0]), f"shape {array.shape}")
    require(array.size < 512 or len(np.unique(array)) > 200, "values of a whole byte")
    if options.same_as is not None:
        other = options.same_as / path.relative_to(options.folder).with_suffix("")
        theirs = pandas.read_csv(other, header=None).to_numpy()
        require(np.array_equal(array, theirs), "other values")
    return array.size


def read_indexed(path, options):
    offsets, sizes = (np.fromfile(f"{path}.{kind}.idx", "<u8") for kind in ("off", "sz"))
    require(options.samples in (None, len(offsets)), f"{len(offsets)} offsets")
    require(len(sizes) == len(offsets), f"{len(sizes)} sizes, {len(offsets)} offsets")
    data = path.read_bytes()
    end = 0
    for offset, size in zip(offsets.tolist(), sizes.tolist()):
        require(offset == end, f"a sample at {offset} after one that ends at {end}")
        require(size % options.dtype.itemsize == 0, "whole elements")
        end = offset + size
        require(size < 512 or any(data[offset:end]), "all zeros")
    require(end == len(data), f"samples end at {end} of {len(data)}")
    return end


def read_safetensors(path, _options):
    """Tensors by their names; values against the bytes in the file, where the header says they are."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    base, payload = 8 + length, 0
    require(base % 4096 == 0, f"tensors begin at {base}")
    with safe_open(path, framework="numpy") as file:
        require(set(file.keys()) == set(header) - {"__metadata__"}, "names")
        for name in file.keys():
            known = name.startswith(("model.", "lm_head.", "optimizer."))
            require(known, f"a tensor called {name}")
            array = file.get_tensor(name)
            place = base + header[name]["data_offsets"][0]
            raw = np.fromfile(path, np.uint8, array.nbytes, offset=place)
            require(raw.tobytes() == array.tobytes(), f"values of {name}")
            payload += array.nbytes
    require(base + payload == path.stat().st_size, f"{payload} bytes of tensors")
    return payload


def sides(text):
    """Sides of a chunk, separated by commas; `none` for contiguous datasets."""
    return () if text == "none" else tuple(int(side) for side in text.split(","))


READERS = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".npy": read_npy,
    ".tfrecord": read_tfrecord,
    ".jpeg": read_image("JPEG"),
    ".png": read_image("PNG"),
    ".parquet": read_parquet,
    ".hdf5": read_hdf5,
    ".hdf5_opt": read_hdf5,
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".indexed_binary": read_indexed,
    ".mmap_indexed_binary": read_indexed,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--samples", type=int, help="samples that each file must hold")
    parser.add_argument("--dtype", type=np.dtype, default=np.dtype(np.uint8))
    parser.add_argument("--chunks", type=sides, help="sides of the chunks of hdf5 datasets")
    parser.add_argument("--same-as", type=pathlib.Path, help="folder of files with the same values")
    parser.add_argument("--compression", default="UNCOMPRESSED", help="codec of parquet files")
    options = parser.parse_args()
    files, payload = collections.Counter(), collections.Counter()
    for path in sorted(options.folder.rglob("*")):
        suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
        reader = READERS.get(suffix)
        if reader is None or not path.is_file():
            continue
        try:
            payload[suffix] += reader(path, options)
        except Exception as error:  # Whatever a reader throws: it refused the file.
            print(f"FAILED {path}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        files[suffix] += 1
    for suffix, count in sorted(files.items()):
        print(f"{suffix[1:]}: {count} files read, {payload[suffix]} bytes decoded")
    if not files:
        print(f"FAILED {options.folder}: no data files", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
