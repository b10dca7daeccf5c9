"""Tables of labels: a class for each photo, in a file such as labels.csv, train.csv or metadata.tsv."""

from phototransfer.photos.labels.one_table import LabelChoice, parse_choice
from phototransfer.photos.labels.tables import TableLabel, TableLabels, read_label_tables

__all__ = ["LabelChoice", "TableLabel", "TableLabels", "parse_choice", "read_label_tables"]
