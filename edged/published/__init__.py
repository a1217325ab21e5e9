"""The contract as documents for others: AsyncAPI, JSON Schema and the tables of docs/protocol.md, out of the models.

What comes in is described by the structs that read it (:mod:`edged.domain.command`, :mod:`edged.domain.batch`). What
goes out is built as plain dictionaries, for speed; the structs in :mod:`.answers` and :mod:`.notices` describe it, and
tests hold every document that is really sent against them. ``make docs`` writes, ``make check`` compares.
"""
