"""Training and fine-tuning. All functions take `settings.FineTuningSettings`:

- `finetuning.finetune_for_training_set`: from a device's training set to a task vector
- `finetuning.finetune_on_recordings`: from recordings with transcripts to weights
- `loop.finetune`: from segmented and tokenised utterances to weights, with an optional penalty or adapters
- `from_scratch.train`: from recordings with transcripts to a new model

The first calls the second, which calls the third. `from_scratch.train` calls `finetune_on_recordings`.
"""
