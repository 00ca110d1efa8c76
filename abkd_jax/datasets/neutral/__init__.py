"""The neutral form of a data set: documented arrays in an npz file, or tables in a folder; read and written."""
