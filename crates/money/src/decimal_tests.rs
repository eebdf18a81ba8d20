//! Tables and properties of decimal text.
