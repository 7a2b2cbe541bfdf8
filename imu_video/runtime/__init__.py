"""What every long job needs: process groups, workers, journals, console; it knows no data and no model."""
