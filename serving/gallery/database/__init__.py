"""The gallery's SQLite file: how it is opened, its tables, transactions, and what goes in and out."""
