"""The fields of requests and responses, and the conversion of requests to columns and of rows to responses."""
