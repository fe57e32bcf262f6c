"""Model editing: task vectors and how they are merged. Needs numpy and safetensors only."""
