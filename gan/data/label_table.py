"""Labels in a table beside a folder's images: labels.csv or metadata.csv."""

import csv
from pathlib import Path

from gan.errors import InputError

TABLES = ("labels.csv", "metadata.csv")
FILE_COLUMNS = ("file_name", "filename", "file", "image", "path", "id")
LABEL_COLUMNS = ("label", "class", "category", "target")


def read_label_table(folder: Path, images: list[Path], root: Path) -> dict[Path, str]:
    """Return the class of each image that is listed in a table of labels, {} if there is no table.

    The table is in the folder itself or, within root, in the folder above. One column has file names, with or without
    suffix, another one the labels. Raises InputError for a table that can't be read, has no such columns, or lists none
    of the images.
    """
    folders = (folder,) if folder == root else (folder, folder.parent)
    table = next((top / name for top in folders for name in TABLES if (top / name).is_file()), None)
    if table is None:
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"data.root: {table} can't be read as a table: {error}") from error
    columns = {(name or "").strip().lower(): name for name in (rows[0] if rows else {})}
    name_of, label_of = (
        next((columns[name] for name in names if name in columns), None) for names in (FILE_COLUMNS, LABEL_COLUMNS)
    )
    if name_of is None or label_of is None:
        raise InputError(
            f"data.root: {table} needs a column of file names ({', '.join(FILE_COLUMNS)}) and a column of labels "
            f"({', '.join(LABEL_COLUMNS)}); it has {', '.join(columns) or 'no rows'}"
        )
    labels = {Path(row[name_of] or "").name: (row[label_of] or "").strip() for row in rows}
    found = {path: labels.get(path.name) or labels.get(path.stem) for path in images}
    if not any(found.values()):
        raise InputError(f"data.root: {table} lists none of the {len(images)} images in {folder}")
    return {path: label for path, label in found.items() if label}
