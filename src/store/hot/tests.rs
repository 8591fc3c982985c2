//! The SQL of each hot statement, on both databases.
