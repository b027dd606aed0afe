use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A session of Django, as it was at the handshake.
///
/// [`DjangoAuth`](super::DjangoAuth) puts it into [`Scope::session`](crate::Scope::session). It is a copy: it does
/// not show what Django changes later, and nothing is written back.
#[derive(Clone, PartialEq)]
pub struct DjangoSession {
    key: Option<String>,
    values: Map<String, Value>,
}

impl DjangoSession {
    /// A session with these values, for tests.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self { key: None, values }
    }

    pub(super) fn with_key(key: Option<String>, values: Map<String, Value>) -> Self {
        Self { key, values }
    }

    /// Reads the value of this name. `None` if there is no such value.
    ///
    /// Times, decimals and UUIDs are texts, as Django's JSON serializer writes them.
    ///
    /// # Errors
    /// If the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> serde_json::Result<Option<T>> {
        self.values.get(name).map(T::deserialize).transpose()
    }

    /// The value of this name, as JSON.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All values, including Django's own, whose names begin with `_`.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The key of a session that came from a store: the text in the cookie.
    ///
    /// It is a secret: anyone who has it can use the session.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Shows the names of the values only.
impl fmt::Debug for DjangoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DjangoSession ")?;
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_types() {
        let values = serde_json::json!({"count": 3, "tags": ["a"], "none": null, "secret": "hidden"});
        let session = DjangoSession::new(values.as_object().unwrap().clone());
        assert_eq!(session.get::<u32>("count").unwrap(), Some(3));
        assert_eq!(session.get::<Vec<String>>("tags").unwrap(), Some(vec!["a".to_owned()]));
        assert_eq!(session.get::<Option<u8>>("none").unwrap(), Some(None));
        assert_eq!(session.get::<u32>("missing").unwrap(), None);
        assert!(session.get::<u32>("tags").is_err());
        assert_eq!((session.value("count"), session.values().count()), (Some(&3.into()), 4));
        let shown = format!("{session:?}");
        assert!(shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }
}
