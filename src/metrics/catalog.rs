//! The one catalogue of every figure in `result.json`.
