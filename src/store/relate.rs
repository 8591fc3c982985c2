//! Storage in the live database of Relate Mail.

mod composition;
