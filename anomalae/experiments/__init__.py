"""More than one training or method: a run on a data set, comparisons with baselines, grids of trainings."""
