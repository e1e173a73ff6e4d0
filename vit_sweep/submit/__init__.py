"""From cells to running jobs: batches, handing over, tending, cancelling. It draws and prints nothing."""
