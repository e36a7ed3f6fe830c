"""The only door to native code; a folder an op, each with its plain torch reference."""
