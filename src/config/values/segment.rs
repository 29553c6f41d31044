//! Paths to values in the file.

/// A step from a value into it: the key of a mapping, or the index of a list, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// The key of a mapping.
    Key(String),
    /// The index in a list.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Segment {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Creates the path to a value from the top of the file: `path!["routes", 3, "pool", "max_idle"]`.
#[macro_export]
macro_rules! path {
    ($($segment:expr),* $(,)?) => { [$($crate::config::Segment::from($segment)),*] };
}
