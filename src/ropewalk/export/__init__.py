"""A rope taken elsewhere: checkpoints that transformers, vLLM and llama.cpp run unchanged, and the proof on logits."""
