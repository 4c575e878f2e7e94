"""Where keys and values live (`pool`), and who holds which block of them (`block_manager`)."""
