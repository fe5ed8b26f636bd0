"""From a release to the next captioner: training, evaluation, the loop of rounds and its ledger."""
