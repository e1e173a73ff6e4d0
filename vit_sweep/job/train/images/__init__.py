"""Images on their way to a GPU: data sets, order, augmentation, pipelines."""
