//! Answers in wire form, kept while their TTLs last.
