"""Files and rows that several parts read or write."""
