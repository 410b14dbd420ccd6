from .choices import Split as Split
from .field import FieldDataset as FieldDataset
from .splits import split_indices as split_indices
from .stream import StreamDataset as StreamDataset
