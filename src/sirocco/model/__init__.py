"""The network of the Mistral/Llama family: its shape, its layers, its weights on disk."""
