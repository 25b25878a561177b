//! What stands behind a key: for the manual page and for editors, which learn the file's schema from it.

/// A key that the file may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What is right there, in words: `a size such as 4GiB or 512MiB, 16MiB to 4TiB`.
    pub expects: String,
    /// The same for programs.
    pub form: Form,
}

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One value.
    Value(ValueForm),
    /// A list of values.
    List(ValueForm),
    /// A section with keys of its own.
    Section,
}

/// What one value looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueForm {
    /// One of these words.
    Words(Vec<&'static str>),
    /// A number without a unit.
    Number,
    /// Text that matches this regular expression (of ECMA-262, as JSON schemas use it).
    Pattern(&'static str),
    /// Any text.
    Text,
}
