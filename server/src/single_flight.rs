//! Many who want the same thing at once share one piece of work.
