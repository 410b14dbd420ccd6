from .curves import plot_history as plot_history
from .curves import plot_transfer as plot_transfer
from .fields import plot_fields as plot_fields
from .fields import plot_predictions as plot_predictions
