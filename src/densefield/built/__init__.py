"""What can be built, said once: a builder's signature is its description, for recipes, files and help."""

from densefield.built.builders import Built, Kinds, Words, built_by, described, described_in, kind_of, words, words_of

__all__ = ["Built", "Kinds", "Words", "built_by", "described", "described_in", "kind_of", "words", "words_of"]
