"""File formats that several parts read or write."""
