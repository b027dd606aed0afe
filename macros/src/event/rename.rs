//! serde's `rename_all`, as far as it can make a reserved name.

/// A rule of `rename_all`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// A rule whose names cannot be `type`, or a rule that serde does not know and reports.
    Other,
    /// `lowercase` and `snake_case`, which leave a field's name as it is.
    AsWritten,
    /// `camelCase`, which leaves out each `_`.
    Camel,
}

impl Rule {
    pub(super) fn new(name: &str) -> Self {
        match name {
            "camelCase" => Self::Camel,
            "lowercase" | "snake_case" => Self::AsWritten,
            _ => Self::Other,
        }
    }

    /// The field's name on the wire. For a rule whose names are never reserved it is empty.
    pub(super) fn of_field(self, name: &str) -> String {
        match self {
            Self::Other => String::new(),
            Self::AsWritten => name.to_owned(),
            Self::Camel => camel(name),
        }
    }
}

/// A word starts behind each `_`, and all but the first start with a capital.
fn camel(name: &str) -> String {
    let mut words = String::new();
    for word in name.split('_').filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        let first = letters.next().map(|first| {
            if words.is_empty() { first.to_ascii_lowercase() } else { first.to_ascii_uppercase() }
        });
        words.extend(first.into_iter().chain(letters));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_can_make_a_reserved_name() {
        for name in ["type_", "_type", "type", "__type__"] {
            assert_eq!(Rule::new("camelCase").of_field(name), "type");
        }
        assert_eq!(Rule::new("camelCase").of_field("type_of_room"), "typeOfRoom");
        assert_eq!(Rule::new("snake_case").of_field("type_"), "type_");
        assert_eq!(Rule::new("SCREAMING_SNAKE_CASE").of_field("type"), "");
    }
}
