//! Fixed values, published vectors and sensitivity of the hashes.
