"""Training and fine-tuning. Choose the function by what you have and what you want:

- a device's training set, for its task vector: `finetuning.finetune_for_training_set`
- recordings with transcripts, for weights: `finetuning.finetune_on_recordings`
- utterances whose speech is found and whose transcripts are tokens, or a penalty or adapters: `loop.finetune`
- recordings with transcripts and no model at all: `from_scratch.train`

Each calls the one below it; the last one calls `finetune_on_recordings`. All take `settings.FineTuningSettings`.
"""
